"""What one machine needs to try Kantor: Apache Kafka from pip, started, kept and stopped. Not for production."""
