-- The rows of the event centre. Times are UTC milliseconds, ids 16 bytes, lists JSON arrays of
-- texts. Every change of this schema is a new file that version N-1 of the program can still read
-- and write (expand), and only a later release removes what nobody uses (contract). A file that was
-- shipped is never edited.

CREATE TABLE meta (
  name TEXT NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT;
-- Grows when a restored copy goes live: watch tokens of the lost time line are then refused, not
-- misread.
INSERT INTO meta (name, value) VALUES ('log_epoch', 1);

-- Numbers given inside transactions: 'outbox', 'incident' (its n), and 'no/{district}/{day}'.
CREATE TABLE counter (
  name TEXT NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT;
INSERT INTO counter (name, value) VALUES ('outbox', 0), ('incident', 0);

CREATE TABLE lease (
  name TEXT NOT NULL PRIMARY KEY,
  holder TEXT NOT NULL,
  token INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE read_position (
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (topic, partition)
) STRICT;

CREATE TABLE ledger (
  stage TEXT NOT NULL,
  name TEXT NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY (stage, name)
) STRICT;

CREATE TABLE consumer (
  id TEXT NOT NULL PRIMARY KEY,
  unit TEXT NOT NULL,
  scope TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT;

CREATE TABLE unit_token (
  hash BLOB NOT NULL PRIMARY KEY,
  unit TEXT NOT NULL,
  label TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) STRICT;

-- Ids are hashes: rows keyed by them would each dirty a page of their own. So an incident has a
-- number n in the order of opening, and what hangs on it is keyed by n: what is written together
-- lies together.
CREATE TABLE incident (
  n INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  no TEXT NOT NULL,
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  category TEXT NOT NULL,
  list_version TEXT NOT NULL,
  title TEXT NOT NULL,
  text TEXT NOT NULL,
  joint_duty INTEGER NOT NULL,
  severity TEXT NOT NULL,
  level INTEGER,
  drill_id TEXT,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  asset TEXT,
  point TEXT,
  located_by TEXT NOT NULL,
  confidence TEXT NOT NULL,
  candidates TEXT NOT NULL,
  location_conflict INTEGER NOT NULL,
  place TEXT NOT NULL,
  district TEXT NOT NULL,
  town TEXT,
  station TEXT,
  village TEXT,
  grid TEXT,
  desk TEXT NOT NULL,
  lead TEXT,
  holder TEXT,
  tier INTEGER,
  watchers TEXT NOT NULL,
  excluded TEXT NOT NULL,
  bound TEXT,
  parent BLOB,
  merged_into BLOB,
  recurrence_of BLOB,
  mode_epoch INTEGER NOT NULL,
  supervise_level INTEGER NOT NULL,
  signals INTEGER NOT NULL,
  standing INTEGER NOT NULL,
  returns INTEGER NOT NULL,
  extensions INTEGER NOT NULL,
  suspensions INTEGER NOT NULL,
  reworks INTEGER NOT NULL,
  reopenings INTEGER NOT NULL,
  first_signal_at INTEGER NOT NULL,
  last_signal_at INTEGER NOT NULL,
  reported_at INTEGER NOT NULL,
  filed_at INTEGER,
  dispatched_at INTEGER,
  acked_at INTEGER,
  fed_back_at INTEGER,
  closed_at INTEGER,
  recovered_at INTEGER,
  on_time INTEGER,
  overdue_at INTEGER,
  due_at INTEGER,
  close_method TEXT,
  reporter TEXT,
  checker TEXT,
  policy_id BLOB,
  group_key BLOB NOT NULL,
  group_radius_m INTEGER NOT NULL,
  group_window_ms INTEGER NOT NULL,
  urgent INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  updated_by_unit TEXT NOT NULL,
  updated_by TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX incident_no ON incident (no);
CREATE INDEX incident_open ON incident (reported_at, n)
  WHERE state NOT IN ('CLOSED', 'EVALUATED', 'DECLINED', 'VOIDED', 'MERGED');
CREATE INDEX incident_closed ON incident (closed_at, n) WHERE closed_at IS NOT NULL;

-- Who sees an incident now: what lists are cut by. The time stands first so that a page is one walk
-- of the key.
CREATE TABLE incident_audience (
  unit TEXT NOT NULL,
  reported_at INTEGER NOT NULL,
  incident INTEGER NOT NULL,
  PRIMARY KEY (unit, reported_at, incident)
) STRICT, WITHOUT ROWID;

CREATE TABLE task (
  incident INTEGER NOT NULL REFERENCES incident (n),
  number INTEGER NOT NULL,
  id BLOB NOT NULL,
  unit TEXT NOT NULL,
  seat TEXT,
  role TEXT NOT NULL,
  mandatory INTEGER NOT NULL,
  from_policy INTEGER NOT NULL,
  state TEXT NOT NULL,
  cause TEXT NOT NULL,
  end_cause TEXT,
  persons TEXT NOT NULL,
  note TEXT NOT NULL,
  evidence TEXT NOT NULL,
  sent_at INTEGER NOT NULL,
  acked_at INTEGER,
  done_at INTEGER,
  ended_at INTEGER,
  due_at INTEGER,
  PRIMARY KEY (incident, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX task_one_live_lead ON task (incident)
  WHERE role = 'LEAD' AND state IN ('SENT', 'ACKED', 'DONE');

CREATE TABLE clock (
  incident INTEGER NOT NULL REFERENCES incident (n),
  id BLOB NOT NULL,
  owner BLOB NOT NULL,
  kind TEXT NOT NULL,
  milestone TEXT,
  budget_ms INTEGER NOT NULL,
  budget_no INTEGER NOT NULL,
  consumed_ms INTEGER NOT NULL,
  running_since INTEGER,
  stopped INTEGER NOT NULL,
  calendar TEXT,
  generation INTEGER NOT NULL,
  rungs TEXT NOT NULL,
  next_rung INTEGER,
  fire_at INTEGER,
  overdue_at INTEGER,
  started_at INTEGER NOT NULL,
  PRIMARY KEY (incident, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX clock_fire_at ON clock (fire_at) WHERE fire_at IS NOT NULL;

CREATE TABLE clock_segment (
  incident INTEGER NOT NULL REFERENCES incident (n),
  clock BLOB NOT NULL,
  generation INTEGER NOT NULL,
  "from" INTEGER NOT NULL,
  "to" INTEGER NOT NULL,
  calendar TEXT,
  budget_ms INTEGER NOT NULL,
  budget_no INTEGER NOT NULL,
  added_ms INTEGER NOT NULL,
  consumed_ms INTEGER NOT NULL,
  cause TEXT NOT NULL,
  PRIMARY KEY (incident, clock, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
  incident INTEGER NOT NULL REFERENCES incident (n),
  id BLOB NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  task BLOB NOT NULL,
  version INTEGER NOT NULL,
  asked_by_unit TEXT NOT NULL,
  asked_by TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  note TEXT NOT NULL,
  proposed TEXT,
  approver TEXT NOT NULL,
  decided_by_unit TEXT,
  decided_by TEXT,
  decided_at INTEGER,
  decision_note TEXT NOT NULL,
  PRIMARY KEY (incident, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX request_one_pending ON request (incident, kind) WHERE state = 'PENDING';

CREATE TABLE history (
  incident INTEGER NOT NULL REFERENCES incident (n),
  version INTEGER NOT NULL,
  action TEXT NOT NULL,
  "from" TEXT,
  "to" TEXT NOT NULL,
  actor_role TEXT NOT NULL,
  actor_unit TEXT NOT NULL,
  actor_person TEXT NOT NULL,
  actor_on_behalf_of TEXT,
  reason TEXT NOT NULL,
  cause_kind TEXT NOT NULL,
  cause_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  mode_epoch INTEGER NOT NULL,
  at INTEGER NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY (incident, version)
) STRICT, WITHOUT ROWID;

-- No reference to incident: retention of the two differs.
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY,
  incident INTEGER NOT NULL,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,
  action TEXT NOT NULL,
  at INTEGER NOT NULL,
  audience TEXT NOT NULL,
  "left" TEXT NOT NULL,
  urgent INTEGER NOT NULL,
  notices TEXT NOT NULL,
  mode_epoch INTEGER NOT NULL,
  drill_id TEXT,
  actor_role TEXT NOT NULL,
  actor_unit TEXT NOT NULL,
  actor_person TEXT NOT NULL,
  actor_on_behalf_of TEXT,
  view BLOB NOT NULL,
  tasks BLOB NOT NULL,
  detail TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX outbox_version ON outbox (incident, version);

-- The row of a change is unique by its history; only refusals need their id to be.
CREATE TABLE audit (
  id BLOB NOT NULL,
  at INTEGER NOT NULL,
  actor_role TEXT NOT NULL,
  actor_unit TEXT NOT NULL,
  actor_person TEXT NOT NULL,
  actor_on_behalf_of TEXT,
  action TEXT NOT NULL,
  incident BLOB,
  version INTEGER,
  reason TEXT NOT NULL,
  request_id TEXT NOT NULL,
  refused TEXT
) STRICT;
CREATE UNIQUE INDEX audit_refusal ON audit (id) WHERE refused IS NOT NULL;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'audit rows are never removed'); END;

CREATE TABLE signal (
  signal_source TEXT NOT NULL,
  signal_event_id TEXT NOT NULL,
  signal_kind TEXT NOT NULL,
  signal_alarm_key TEXT NOT NULL,
  signal_category TEXT NOT NULL,
  signal_severity TEXT NOT NULL,
  signal_time INTEGER NOT NULL,
  signal_since INTEGER NOT NULL,
  signal_received_at INTEGER NOT NULL,
  signal_device TEXT NOT NULL,
  signal_asset TEXT,
  signal_place TEXT,
  signal_point TEXT,
  signal_cause TEXT NOT NULL,
  signal_text TEXT NOT NULL,
  signal_reading BLOB,
  digest BLOB NOT NULL,
  drill_id TEXT,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL,
  incident INTEGER,
  place TEXT,
  at INTEGER NOT NULL,
  cleared_at INTEGER,
  PRIMARY KEY (signal_source, signal_event_id)
) STRICT;
CREATE INDEX signal_standing ON signal (signal_source, signal_alarm_key, signal_event_id)
  WHERE cleared_at IS NULL AND signal_alarm_key <> '' AND signal_kind <> 'clear';
CREATE INDEX signal_incident ON signal (incident) WHERE incident IS NOT NULL;

CREATE TABLE command (
  request_id TEXT NOT NULL PRIMARY KEY,
  digest BLOB NOT NULL,
  at INTEGER NOT NULL,
  incident BLOB,
  version INTEGER NOT NULL,
  state TEXT,
  outcome TEXT
) STRICT;
CREATE INDEX command_at ON command (at);

CREATE TABLE timer_fire (
  clock BLOB NOT NULL,
  budget_no INTEGER NOT NULL,
  rung INTEGER NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (clock, budget_no, rung)
) STRICT, WITHOUT ROWID;

CREATE TABLE policy (
  id BLOB NOT NULL PRIMARY KEY,
  body TEXT NOT NULL
) STRICT;
