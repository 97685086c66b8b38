"""The OpenAI API's request bodies as types; what they refuse, the gateway answers with 400 and the field's
name.
"""
