//! What the embedded log finds after a crash or damage: acknowledged records, or an error that
//! names what is missing; never fewer records without an error.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use yiwang_log::{
    Batch, BatchLimit, EmbeddedConfig, Error, Event, Floor, Log, Route, Start, TopicSpec,
};

/// Names the folder that a child of these tests writes to.
const CHILD_DIR: &str = "YIWANG_LOG_TEST_CHILD_DIR";
/// Names the folder that a child of these tests reads.
const CHECK_DIR: &str = "YIWANG_LOG_TEST_CHECK_DIR";

fn topics() -> Vec<TopicSpec> {
    vec![TopicSpec::stream("raw", 2, &["router"]), TopicSpec::compacted("state", 1)]
}

/// Small memtables, so that tables are written as well; large records go to value files.
fn config(dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig {
        memtable_bytes_max: 16 << 10,
        direct_bytes_min: 4 << 10,
        value_file_bytes: 32 << 10,
        ..EmbeddedConfig::new(dir)
    }
}

fn open(dir: &Path) -> Result<Log, Error> {
    Log::open_embedded(config(dir), topics())
}

async fn append(log: &Log, number: u64, size: usize) {
    let mut batch = Batch::new();
    let mut value = number.to_le_bytes().to_vec();
    value.resize(8 + size, 7);
    let partition = (number % 2) as u16;
    batch.push(log.topic("raw").unwrap(), Route::Partition(partition), b"k", &[], &value);
    batch.push(log.topic("state").unwrap(), Route::Partition(0), b"last", &[], &value);
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
}

/// All records in the log, as (partition, seq, number).
async fn read_all(log: &Log) -> Result<Vec<(u16, u64, u64)>, Error> {
    let mut left = 0;
    for partition in 0..2 {
        left += log.head("raw", partition).await?;
    }
    let mut reader = log.reader("raw", "", Start::Committed).await?;
    let mut out = Vec::new();
    let mut ends = [0, 0];
    while ends.iter().sum::<u64>() < left {
        if let Event::Records(records) = reader.next(BatchLimit::default()).await? {
            ends[usize::from(records.partition)] = records.end().seq;
            out.extend(records.iter().map(|record| {
                let number = u64::from_le_bytes(record.value[..8].try_into().unwrap());
                (records.partition, record.seq, number)
            }));
        }
    }
    log.compacted("state", 0).await?;
    out.sort_unstable();
    Ok(out)
}

/// Not a test of its own: the body of the processes that the tests below start and kill.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let log = open(Path::new(&dir)).unwrap();
    let first = log.head("raw", 0).await.unwrap() + log.head("raw", 1).await.unwrap();
    println!("open");
    for number in first.. {
        append(&log, number, if number % 3 == 0 { 6000 } else { 100 }).await;
        println!("acked {number}");
    }
}

fn start_child(dir: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map_while(Result::ok))
}

#[tokio::test]
async fn acknowledged_records_survive_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked = 0;
    for round in 1..=5 {
        let (mut child, lines) = start_child(dir.path());
        for line in lines {
            if let Some(number) = line.strip_prefix("acked ") {
                acked = number.parse::<u64>().unwrap();
            }
            if acked >= round * 40 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let log = open(dir.path()).unwrap();
        let mut numbers: Vec<_> =
            read_all(&log).await.unwrap().into_iter().map(|(.., number)| number).collect();
        numbers.sort_unstable();
        assert!(numbers.len() as u64 > acked, "{acked} was acknowledged");
        let wanted: Vec<_> = (0..numbers.len() as u64).collect();
        assert_eq!(numbers, wanted, "every record once");
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = start_child(dir.path());
    assert!(lines.any(|line| line == "open"));
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains("held by another process"));
    child.kill().unwrap();
    child.wait().unwrap();
    open(dir.path()).unwrap().close().await.unwrap();
}

async fn write(dir: &Path, count: u64, size: usize) -> Vec<(u16, u64, u64)> {
    let log = open(dir).unwrap();
    for number in 0..count {
        append(&log, number, size).await;
    }
    let all = read_all(&log).await.unwrap();
    log.close().await.unwrap();
    all
}

/// The newest journal and where its data ends.
fn journal(dir: &Path) -> (PathBuf, u64) {
    let files = std::fs::read_dir(dir.join("records")).unwrap();
    let newest = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .max()
        .unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (newest, end as u64)
}

#[tokio::test]
async fn torn_tail_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = write(dir.path(), 20, 100).await;
    let (path, end) = journal(dir.path());
    // The beginning of one more batch, cut in the middle.
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&bytes[..150], end).unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(read_all(&log).await.unwrap(), wanted);
    append(&log, 20, 100).await;
    assert_eq!(read_all(&log).await.unwrap().len(), 21);
    log.close().await.unwrap();
}

#[tokio::test]
async fn cut_acknowledged_tail_is_refused_until_accepted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 20, 100).await;
    let (path, end) = journal(dir.path());
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(end - 40).unwrap();
    for _ in 0..2 {
        let error = open(dir.path()).unwrap_err();
        let Error::Missing { ref topic, first: 9, last: 9, .. } = error else { panic!("{error}") };
        assert_eq!(topic, "raw");
        assert!(error.to_string().contains("accept-loss"), "{error}");
    }
    let losses = Log::accept_loss(EmbeddedConfig::new(dir.path()), topics()).unwrap();
    let lost: Vec<_> =
        losses.iter().map(|loss| (loss.topic.as_str(), loss.partition, loss.first)).collect();
    assert_eq!(lost, [("raw", 1, 9), ("state", 0, 19)]);
    let log = open(dir.path()).unwrap();
    append(&log, 21, 100).await;
    let all = read_all(&log).await.unwrap();
    assert_eq!(all.len(), 20);
    assert_eq!(all.last().unwrap(), &(1, 10, 21), "the lost number is not given again");
    log.close().await.unwrap();
}

fn value_files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join("values")).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort_unstable();
    paths
}

#[tokio::test]
async fn cut_or_lost_value_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = write(dir.path(), 20, 5000).await;
    let log = open(dir.path()).unwrap();
    assert_eq!(read_all(&log).await.unwrap(), wanted);
    log.close().await.unwrap();
    let files = value_files(dir.path());
    assert!(files.len() > 2, "{files:?}");
    let oldest = std::fs::read(&files[0]).unwrap();
    std::fs::write(&files[0], &oldest[..oldest.len() - 1]).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    let name = files[0].file_name().unwrap().to_str().unwrap();
    assert!(error.contains(name) && error.contains("backup"), "{error}");
    std::fs::remove_file(&files[0]).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("gone"), "{error}");
    std::fs::write(&files[0], &oldest).unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(read_all(&log).await.unwrap(), wanted);
    log.close().await.unwrap();
}

#[tokio::test]
async fn bytes_that_no_commit_names_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = write(dir.path(), 4, 5000).await;
    let [only] = &value_files(dir.path())[..] else { panic!("one file") };
    // A chunk that was written, and a file that was begun, before the crash came.
    let mut bytes = std::fs::read(only).unwrap();
    let allocated = bytes.len();
    bytes.extend_from_slice(&[7; 3000]);
    std::fs::write(only, &bytes).unwrap();
    std::fs::write(dir.path().join("values/00000000000000000077.chunks"), b"begun").unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(value_files(dir.path()), std::slice::from_ref(only));
    assert!(std::fs::metadata(only).unwrap().len() < allocated as u64);
    assert_eq!(read_all(&log).await.unwrap(), wanted);
    append(&log, 4, 5000).await;
    assert_eq!(read_all(&log).await.unwrap().len(), 5);
    assert!(value_files(dir.path())[1].ends_with("00000000000000000078.chunks"));
    log.close().await.unwrap();
}

#[tokio::test]
async fn retention_deletes_value_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut raw = TopicSpec::stream("raw", 2, &["router"]);
    raw.retention.bytes_max = 100_000;
    let topics = vec![raw, TopicSpec::compacted("state", 1)];
    let log = Log::open_embedded(config(dir.path()), topics).unwrap();
    let mut reader = log.reader("raw", "router", Start::Committed).await.unwrap();
    let committer = reader.committer();
    for number in 0..60 {
        append(&log, number, 5000).await;
        let read = async {
            loop {
                match reader.next(BatchLimit::default()).await.unwrap() {
                    Event::Records(records) => return records.end(),
                    Event::Assigned(_) | Event::Revoked(_) => {}
                }
            }
        };
        committer.commit(read.await).await.unwrap();
        assert!(value_files(dir.path()).len() <= 6, "{number}");
    }
    let first = &value_files(dir.path())[0];
    assert!(!first.ends_with("00000000000000000000.chunks"), "{first:?}");
    log.close().await.unwrap();
    let again = open(dir.path()).unwrap();
    let kept = read_all(&again).await.unwrap().into_iter().map(|(.., number)| number);
    let mut kept: Vec<_> = kept.collect();
    kept.sort_unstable();
    let wanted: Vec<_> = (60 - kept.len() as u64..60).collect();
    assert!(kept.len() > 10 && kept == wanted, "{kept:?}");
    again.close().await.unwrap();
}

#[tokio::test]
async fn floors_are_held() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 4, 100).await;
    let floor = |seq| Floor {
        topic: "raw".to_owned(),
        partition: 0,
        seq,
        known_from: "the centre's position in the store".to_owned(),
    };
    let with = |seq| EmbeddedConfig { floors: vec![floor(seq)], ..EmbeddedConfig::new(dir.path()) };
    let error = Log::open_embedded(with(5), topics()).unwrap_err();
    assert!(matches!(error, Error::Missing { first: 2, last: 4, .. }), "{error}");
    Log::open_embedded(with(2), topics()).unwrap().close().await.unwrap();
}

#[tokio::test]
async fn changed_partitions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 4, 100).await;
    let more = vec![TopicSpec::stream("raw", 3, &[])];
    let error = Log::open_embedded(EmbeddedConfig::new(dir.path()), more).unwrap_err();
    assert!(error.to_string().contains("was made with 2 partitions"), "{error}");
}

#[tokio::test]
async fn lost_head_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 4, 100).await;
    std::fs::remove_file(dir.path().join("HEAD")).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(Log::accept_loss(EmbeddedConfig::new(dir.path()), topics()).unwrap().is_empty());
    open(dir.path()).unwrap().close().await.unwrap();
}

/// A file of a closed folder: its name, its bytes up to the last that is not zero, its length.
type Stored = (PathBuf, Vec<u8>, u64);

fn load(root: &Path, dir: &Path, out: &mut Vec<Stored>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            load(root, &path, out);
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let length = bytes.len() as u64;
        // The engine allocates ahead.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        out.push((path.strip_prefix(root).unwrap().to_owned(), bytes, length));
    }
    out.sort_unstable();
}

fn store(files: &[Stored], to: &Path) {
    for (name, bytes, length) in files {
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::fs::File::create(path).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.set_len(*length).unwrap();
    }
}

/// Not a test of its own: opens a damaged folder and prints what it reads. A process of its own,
/// because a damaged length may make the engine ask for more memory than there is.
#[tokio::test]
async fn check_child() {
    let Some(dir) = std::env::var_os(CHECK_DIR) else { return };
    let log = match open(Path::new(&dir)) {
        Ok(log) => log,
        Err(error) => return println!("refused: {error}"),
    };
    match read_all(&log).await {
        Ok(read) => println!("read {read:?}"),
        Err(error) => println!("refused: {error}"),
    }
}

fn check(dir: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["check_child", "--exact", "--nocapture"])
        .env(CHECK_DIR, dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |line: &&str| line.starts_with("read ") || line.starts_with("refused: ");
    text.lines().find(line).unwrap_or("died").to_owned()
}

#[tokio::test]
async fn bit_flips_are_detected_or_harmless() {
    let dir = memory_dir();
    let wanted = format!("read {:?}", write(dir.path(), 40, 5000).await);
    let mut files = Vec::new();
    load(dir.path(), dir.path(), &mut files);
    let mut rng = SmallRng::seed_from_u64(3);
    let (mut detected, mut harmless, mut died) = (0, 0, 0);
    for index in 0..files.len() {
        let journal = files[index].0.extension().is_some_and(|extension| extension == "jnl");
        for _ in 0..if journal { 60 } else { 3 } {
            let length = files[index].1.len();
            if length == 0 {
                continue;
            }
            let (at, bit) = (rng.random_range(0..length), rng.random_range(0..8));
            files[index].1[at] ^= 1 << bit;
            let damaged = memory_dir();
            store(&files, damaged.path());
            let found = check(damaged.path());
            match found.as_str() {
                "died" => died += 1,
                refused if refused.starts_with("refused") => detected += 1,
                read => {
                    let name = files[index].0.display();
                    assert_eq!(read, wanted, "bit {bit} of byte {at} of {name}");
                    harmless += 1;
                }
            }
            files[index].1[at] ^= 1 << bit;
        }
    }
    println!("{detected} detected, {died} died at open, {harmless} harmless");
    assert!(detected > 60 && died < detected / 10);
}

/// A folder where a sync costs nothing.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
