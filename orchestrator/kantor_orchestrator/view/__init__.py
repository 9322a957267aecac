"""The view: journal, history and commands, projected into SQL for people to query.

The walk: ``role.py`` (records from Kafka, in batches) -> ``projector.py`` (records to changes of rows; pure) ->
``database.py`` (one SQL transaction with the positions; ``sqlite.py`` or ``postgresql.py`` runs it) -> ``queries.py`` (what the terminal, the
pages and the API show). It can be rebuilt from Kafka at any time: ``rebuild.py``.
"""
