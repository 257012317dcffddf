-- Devices that a signal adds to an outage, as a JSON list of device keys.
ALTER TABLE signal ADD COLUMN signal_members TEXT NOT NULL DEFAULT '[]';
