-- No foreign keys: their triggers would cost as much as the rows, and n comes from the same
-- transaction. The rows of the event centre. Times are UTC milliseconds, ids 16 bytes, lists JSON
-- arrays of texts. Every change of this schema is a new file that version N-1 of the program can
-- still read and write (expand), and only a later release removes what nobody uses (contract). A
-- file that was shipped is never edited.

CREATE TABLE meta (
  name TEXT NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
-- Grows when a restored copy goes live: watch tokens of the lost time line are then refused, not
-- misread.
INSERT INTO meta (name, value) VALUES ('log_epoch', 1);

-- Numbers given inside transactions: 'outbox', 'incident' (its n), and 'no/{district}/{day}'.
CREATE TABLE counter (
  name TEXT NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('outbox', 0), ('incident', 0);

CREATE TABLE lease (
  name TEXT NOT NULL PRIMARY KEY,
  holder TEXT NOT NULL,
  token BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);

CREATE TABLE read_position (
  topic TEXT NOT NULL,
  partition BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  PRIMARY KEY (topic, partition)
);

CREATE TABLE ledger (
  stage TEXT NOT NULL,
  name TEXT NOT NULL,
  value BIGINT NOT NULL,
  PRIMARY KEY (stage, name)
);

CREATE TABLE consumer (
  id TEXT NOT NULL PRIMARY KEY,
  unit TEXT NOT NULL,
  scope TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  seen_at BIGINT NOT NULL
);

CREATE TABLE unit_token (
  hash BYTEA NOT NULL PRIMARY KEY,
  unit TEXT NOT NULL,
  label TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  revoked_at BIGINT
);

-- Ids are hashes: rows keyed by them would each dirty a page of their own. So an incident has a
-- number n in the order of opening, and what hangs on it is keyed by n: what is written together
-- lies together.
CREATE TABLE incident (
  n BIGINT NOT NULL PRIMARY KEY,
  id BYTEA NOT NULL UNIQUE,
  no TEXT NOT NULL,
  version BIGINT NOT NULL,
  state TEXT NOT NULL,
  category TEXT NOT NULL,
  list_version TEXT NOT NULL,
  title TEXT NOT NULL,
  text TEXT NOT NULL,
  joint_duty BIGINT NOT NULL,
  severity TEXT NOT NULL,
  level BIGINT,
  drill_id TEXT,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  asset TEXT,
  point TEXT,
  located_by TEXT NOT NULL,
  confidence TEXT NOT NULL,
  candidates TEXT NOT NULL,
  location_conflict BIGINT NOT NULL,
  place TEXT NOT NULL,
  district TEXT NOT NULL,
  town TEXT,
  station TEXT,
  village TEXT,
  grid TEXT,
  desk TEXT NOT NULL,
  lead TEXT,
  holder TEXT,
  tier BIGINT,
  watchers TEXT NOT NULL,
  excluded TEXT NOT NULL,
  bound TEXT,
  parent BYTEA,
  merged_into BYTEA,
  recurrence_of BYTEA,
  mode_epoch BIGINT NOT NULL,
  supervise_level BIGINT NOT NULL,
  signals BIGINT NOT NULL,
  standing BIGINT NOT NULL,
  returns BIGINT NOT NULL,
  extensions BIGINT NOT NULL,
  suspensions BIGINT NOT NULL,
  reworks BIGINT NOT NULL,
  reopenings BIGINT NOT NULL,
  first_signal_at BIGINT NOT NULL,
  last_signal_at BIGINT NOT NULL,
  reported_at BIGINT NOT NULL,
  filed_at BIGINT,
  dispatched_at BIGINT,
  acked_at BIGINT,
  fed_back_at BIGINT,
  closed_at BIGINT,
  recovered_at BIGINT,
  on_time BIGINT,
  overdue_at BIGINT,
  due_at BIGINT,
  close_method TEXT,
  reporter TEXT,
  checker TEXT,
  policy_id BYTEA,
  group_key BYTEA NOT NULL,
  group_radius_m BIGINT NOT NULL,
  group_window_ms BIGINT NOT NULL,
  urgent BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  updated_by_unit TEXT NOT NULL,
  updated_by TEXT NOT NULL
);
CREATE UNIQUE INDEX incident_no ON incident (no);
CREATE INDEX incident_open ON incident (reported_at, n)
  WHERE state NOT IN ('CLOSED', 'EVALUATED', 'DECLINED', 'VOIDED', 'MERGED');
CREATE INDEX incident_closed ON incident (closed_at, n) WHERE closed_at IS NOT NULL;

-- Who sees an incident now: what lists are cut by. The time stands first so that a page is one walk
-- of the key.
CREATE TABLE incident_audience (
  unit TEXT NOT NULL,
  reported_at BIGINT NOT NULL,
  incident BIGINT NOT NULL,
  PRIMARY KEY (unit, reported_at, incident)
);

CREATE TABLE task (
  incident BIGINT NOT NULL,
  number BIGINT NOT NULL,
  id BYTEA NOT NULL,
  unit TEXT NOT NULL,
  seat TEXT,
  role TEXT NOT NULL,
  mandatory BIGINT NOT NULL,
  from_policy BIGINT NOT NULL,
  state TEXT NOT NULL,
  cause TEXT NOT NULL,
  end_cause TEXT,
  persons TEXT NOT NULL,
  note TEXT NOT NULL,
  evidence TEXT NOT NULL,
  sent_at BIGINT NOT NULL,
  acked_at BIGINT,
  done_at BIGINT,
  ended_at BIGINT,
  due_at BIGINT,
  PRIMARY KEY (incident, number)
);
CREATE UNIQUE INDEX task_one_live_lead ON task (incident)
  WHERE role = 'LEAD' AND state IN ('SENT', 'ACKED', 'DONE');

CREATE TABLE clock (
  incident BIGINT NOT NULL,
  id BYTEA NOT NULL,
  owner BYTEA NOT NULL,
  kind TEXT NOT NULL,
  milestone TEXT,
  budget_ms BIGINT NOT NULL,
  budget_no BIGINT NOT NULL,
  consumed_ms BIGINT NOT NULL,
  running_since BIGINT,
  stopped BIGINT NOT NULL,
  calendar TEXT,
  generation BIGINT NOT NULL,
  rungs TEXT NOT NULL,
  next_rung BIGINT,
  fire_at BIGINT,
  overdue_at BIGINT,
  started_at BIGINT NOT NULL,
  PRIMARY KEY (incident, id)
);
CREATE INDEX clock_fire_at ON clock (fire_at) WHERE fire_at IS NOT NULL;

CREATE TABLE clock_segment (
  incident BIGINT NOT NULL,
  clock BYTEA NOT NULL,
  generation BIGINT NOT NULL,
  "from" BIGINT NOT NULL,
  "to" BIGINT NOT NULL,
  calendar TEXT,
  budget_ms BIGINT NOT NULL,
  budget_no BIGINT NOT NULL,
  added_ms BIGINT NOT NULL,
  consumed_ms BIGINT NOT NULL,
  cause TEXT NOT NULL,
  PRIMARY KEY (incident, clock, generation)
);

CREATE TABLE request (
  incident BIGINT NOT NULL,
  id BYTEA NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  task BYTEA NOT NULL,
  version BIGINT NOT NULL,
  asked_by_unit TEXT NOT NULL,
  asked_by TEXT NOT NULL,
  asked_at BIGINT NOT NULL,
  reason TEXT NOT NULL,
  note TEXT NOT NULL,
  proposed TEXT,
  approver TEXT NOT NULL,
  decided_by_unit TEXT,
  decided_by TEXT,
  decided_at BIGINT,
  decision_note TEXT NOT NULL,
  PRIMARY KEY (incident, id)
);
CREATE UNIQUE INDEX request_one_pending ON request (incident, kind) WHERE state = 'PENDING';

CREATE TABLE history (
  incident BIGINT NOT NULL,
  version BIGINT NOT NULL,
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
  mode_epoch BIGINT NOT NULL,
  at BIGINT NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY (incident, version)
);

-- No reference to incident: retention of the two differs.
CREATE TABLE outbox (
  seq BIGINT NOT NULL PRIMARY KEY,
  incident BIGINT NOT NULL,
  version BIGINT NOT NULL,
  kind TEXT NOT NULL,
  action TEXT NOT NULL,
  at BIGINT NOT NULL,
  audience TEXT NOT NULL,
  "left" TEXT NOT NULL,
  urgent BIGINT NOT NULL,
  notices TEXT NOT NULL,
  mode_epoch BIGINT NOT NULL,
  drill_id TEXT,
  actor_role TEXT NOT NULL,
  actor_unit TEXT NOT NULL,
  actor_person TEXT NOT NULL,
  actor_on_behalf_of TEXT,
  view BYTEA NOT NULL,
  tasks BYTEA NOT NULL,
  detail TEXT NOT NULL
);
CREATE UNIQUE INDEX outbox_version ON outbox (incident, version);

-- The row of a change is unique by its history; only refusals need their id to be.
CREATE TABLE audit (
  id BYTEA NOT NULL,
  at BIGINT NOT NULL,
  actor_role TEXT NOT NULL,
  actor_unit TEXT NOT NULL,
  actor_person TEXT NOT NULL,
  actor_on_behalf_of TEXT,
  action TEXT NOT NULL,
  incident BYTEA,
  version BIGINT,
  reason TEXT NOT NULL,
  request_id TEXT NOT NULL,
  refused TEXT
);
CREATE UNIQUE INDEX audit_refusal ON audit (id) WHERE refused IS NOT NULL;
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'audit rows are never changed or removed' USING ERRCODE = '23514';
END
$$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
  FOR EACH ROW EXECUTE FUNCTION audit_refuse();

CREATE TABLE signal (
  signal_source TEXT NOT NULL,
  signal_event_id TEXT NOT NULL,
  signal_kind TEXT NOT NULL,
  signal_alarm_key TEXT NOT NULL,
  signal_category TEXT NOT NULL,
  signal_severity TEXT NOT NULL,
  signal_time BIGINT NOT NULL,
  signal_since BIGINT NOT NULL,
  signal_received_at BIGINT NOT NULL,
  signal_device TEXT NOT NULL,
  signal_asset TEXT,
  signal_place TEXT,
  signal_point TEXT,
  signal_cause TEXT NOT NULL,
  signal_text TEXT NOT NULL,
  signal_reading BYTEA,
  digest BYTEA NOT NULL,
  drill_id TEXT,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL,
  incident BIGINT,
  place TEXT,
  at BIGINT NOT NULL,
  cleared_at BIGINT,
  PRIMARY KEY (signal_source, signal_event_id)
);
CREATE INDEX signal_standing ON signal (signal_source, signal_alarm_key, signal_event_id)
  WHERE cleared_at IS NULL AND signal_alarm_key <> '' AND signal_kind <> 'clear';
CREATE INDEX signal_incident ON signal (incident) WHERE incident IS NOT NULL;

CREATE TABLE command (
  request_id TEXT NOT NULL PRIMARY KEY,
  digest BYTEA NOT NULL,
  at BIGINT NOT NULL,
  incident BYTEA,
  version BIGINT NOT NULL,
  state TEXT,
  outcome TEXT
);
CREATE INDEX command_at ON command (at);

CREATE TABLE timer_fire (
  clock BYTEA NOT NULL,
  budget_no BIGINT NOT NULL,
  rung BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (clock, budget_no, rung)
);

CREATE TABLE policy (
  id BYTEA NOT NULL PRIMARY KEY,
  body TEXT NOT NULL
);
