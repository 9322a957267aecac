"""The REST API and what the pages are served by: the only package that imports FastAPI.

The walk of a request: ``guards.py`` (is it from here, is it small enough) -> ``access.py`` (who is it, may they: one table; by
``tokens.py``, ``sessions.py``, ``oidc.py``)
-> a route (``transactions.py``, ``acts.py``, ``rest.py``, ``pages.py``) -> ``backend.py`` (view, Kafka, operator actions: no web in it)
-> ``view.as_json`` (the one shape of data), or the templates in ``kantor_orchestrator/web``.
"""
