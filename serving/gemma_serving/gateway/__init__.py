"""The gateway: the only door of a serving pod.

`request → authenticate → admit → prompt → generate → filter → respond`. It owns what engines disagree on:
the OpenAI API, chat templates, tools, limits, queueing, metrics names, health and drain. It knows the
engine only through `upstream.py`, and the operator only through `contract.RuntimeConfig`.
"""
