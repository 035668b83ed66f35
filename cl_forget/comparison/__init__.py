"""What results say, as pure functions of records: settings, selection, statistics, observations."""
