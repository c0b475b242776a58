"""The operations and the models of the API.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""
