"""Saga definitions: read, checked, compiled, deployed.

``yaml_source`` or ``dsl`` -> ``model`` (the grammar) -> ``check`` (against the schemas) -> ``deploy`` (a ``bundle`` on the
topic) -> ``catalogue`` (what every role sees) -> ``compile`` (what the engine runs).
"""
