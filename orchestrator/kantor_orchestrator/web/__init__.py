"""The pages: templates, style and script, and the pure functions that put them together. Served by ``api/pages.py``.

Rendered on the server; htmx (in ``static/vendor``, licence beside it) replaces parts of a page. Nothing is built and nothing is
loaded from elsewhere. All text is escaped by the templates; what a message says is text and nothing else.
"""
