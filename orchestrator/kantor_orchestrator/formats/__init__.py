"""What lies on Kafka, and what several roles read and write there: topics, the journal, the decision log, watermarks."""
