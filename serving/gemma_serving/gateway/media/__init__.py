"""Images and sound of a request: fetched safely, decoded where they can do no harm, in the form engines
take.
"""
