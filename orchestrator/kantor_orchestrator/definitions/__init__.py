"""Saga definitions: read, checked, compiled, deployed, drawn.

``yaml_source`` or ``dsl`` -> ``model`` (the grammar, of ``parts`` and ``words``) -> ``check`` (against the schemas) ->
``deploy`` (a ``bundle`` on the topic) -> ``catalogue`` (what every role sees) -> ``compile`` (what the engine runs).

What ``check`` and ``compile`` share: ``tree`` (steps in steps), ``meaning`` (which messages a kind of step is made of),
``scopes`` (what a name means where), ``references`` (what an expression reads), ``expressions`` (what it gives).
"""
