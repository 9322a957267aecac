"""Kafka clients: the only folder of the kit that imports confluent_kafka.

Facts that shape it, each measured on a real broker (docs/decisions/0003-kafka-clients.md):

* ``consume(n, t)`` waits the whole ``t`` unless ``n`` messages came; so: ``poll(t)``, then ``consume(n - 1, 0)``.
* A Kafka transaction begun right after the last one's commit meets CONCURRENT_TRANSACTIONS, and librdkafka waits
  ``retry.backoff.ms`` before it asks again; the default of 100 ms would rule the throughput.
* ``flush`` and ``commit_transaction`` ignore ``linger.ms``: callers that flush get full batches and no delay.
* A pattern subscription finds a new topic only when metadata is refreshed; the default is 5 minutes.
* Clients do not survive ``fork``; a consumer has one owner thread; every client must be polled, idle producers too.
* Blocking calls do not always keep their timeouts, some have none: each has a limit of ours (``kantor.watchdog``), past
  which it raises ``StuckError``, as does every later call of that client. Callbacks of such a call run in another thread.
* ``purge(blocking=...)`` means the opposite of what it says (confluent-kafka 2.16), and keeps the interpreter's lock.

Records are handed on as librdkafka's own message objects: they satisfy :class:`Record`, and a copy would cost more
than the rest of the intake.
"""

from kantor.kafka.admin import Admin
from kantor.kafka.consumer import Consumer
from kantor.kafka.producer import Producer
from kantor.kafka.settings import ENV_BOOTSTRAP, KafkaSettings

__all__ = ["ENV_BOOTSTRAP", "Admin", "Consumer", "KafkaSettings", "Producer"]
