//! The real binary as child processes: embedded (one process) or distributed (one a role, over Kafka and PostgreSQL).

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::wait::until;

/// How long a start, a stop or a drain may take on a busy machine of two cores.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How the roles are spread over processes.
#[derive(Clone, Debug)]
pub enum Mode {
    /// All roles in one process, everything in the data folder.
    Embedded,
    /// Gateway, router and centre as three processes.
    Distributed {
        /// `HOST:PORT` of Kafka.
        kafka: String,
        /// URL of a PostgreSQL database of this hub's own.
        postgres: String,
        /// Prefix that keeps this hub's topics apart from those of other tests.
        topic_prefix: String,
    },
}

/// A hub to be started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How its roles are spread.
    pub mode: Mode,
    /// Its data folder (embedded), keys and tokens.
    pub data: PathBuf,
    /// Configuration file.
    pub config: PathBuf,
    /// Further `KEY=VALUE` settings.
    pub set: Vec<String>,
}

/// A running hub; its processes end with it.
pub struct Hub {
    plan: Plan,
    ports: Ports,
    processes: Vec<Process>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    mqtt: u16,
    grpc: u16,
    http: [u16; 3],
}

struct Process {
    role: &'static str,
    child: Child,
    http: SocketAddr,
}

/// The roles, in the order in which distributed processes are started.
pub const ROLES: [&str; 3] = ["centre", "router", "gateway"];

impl Plan {
    /// The embedded hub over the shipped district.
    #[must_use]
    pub fn embedded(data: &Path) -> Self {
        Self {
            mode: Mode::Embedded,
            data: data.to_path_buf(),
            config: repository().join("config/yiwang.toml"),
            set: [
                "telemetry.filter=info",
                // What else lies on the disk of a machine that tests must not matter.
                "log.disk_reserve_percent=0",
                "log.disk_reserve_bytes_min=0",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }

    /// The same as three processes over the services that the test command started.
    ///
    /// # Errors
    /// If a service's address is not in the environment, or its database cannot be made.
    pub fn distributed(data: &Path, name: &str) -> Result<Self, String> {
        let kafka = service("YIWANG_TEST_KAFKA")?;
        let postgres = own_database(&service("YIWANG_TEST_POSTGRES")?, name)?;
        let topic_prefix = format!("{name}.{}.", std::process::id());
        let mut plan = Self::embedded(data);
        plan.mode = Mode::Distributed { kafka, postgres, topic_prefix };
        Ok(plan)
    }

    /// With one more setting.
    #[must_use]
    pub fn with(mut self, setting: &str) -> Self {
        self.set.push(setting.to_owned());
        self
    }

    /// Starts the hub and waits until every process is ready.
    ///
    /// # Errors
    /// The program's own words when it does not become ready.
    pub fn start(self) -> Result<Hub, String> {
        let mut hub = self.launch()?;
        hub.wait_ready()?;
        Ok(hub)
    }

    /// Starts the processes without waiting.
    ///
    /// # Errors
    /// If a process cannot be started at all.
    pub fn launch(self) -> Result<Hub, String> {
        let free = free_ports(5);
        let ports = Ports { mqtt: free[0], grpc: free[1], http: [free[2], free[3], free[4]] };
        let mut hub = Hub { plan: self, ports, processes: Vec::new() };
        hub.start_again()?;
        Ok(hub)
    }

    fn command(&self, ports: Ports, http: SocketAddr, role: Option<usize>) -> Command {
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(&self.config).arg("--data").arg(&self.data);
        let mut set = vec![
            format!("intake.listen.address=127.0.0.1:{}", ports.mqtt),
            format!("centre.listen=127.0.0.1:{}", ports.grpc),
            format!("http.listen={http}"),
        ];
        if let Mode::Distributed { kafka, postgres, topic_prefix } = &self.mode {
            set.push("log.kind=kafka".to_owned());
            set.push(format!("log.kafka.brokers={kafka}"));
            set.push(format!("log.kafka.topic_prefix={topic_prefix}"));
            set.push("log.kafka.replication=1".to_owned());
            set.push("log.kafka.min_insync_replicas=1".to_owned());
            set.push(format!("store.url={postgres}"));
        }
        set.extend(self.set.iter().cloned());
        for setting in set {
            command.arg("--set").arg(setting);
        }
        if let Some(role) = role {
            command.arg("--role").arg(ROLES[role]);
        }
        command
    }
}

impl Hub {
    /// Where devices connect.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        loopback(self.ports.mqtt)
    }

    /// Where gRPC clients connect.
    #[must_use]
    pub fn grpc(&self) -> SocketAddr {
        loopback(self.ports.grpc)
    }

    /// `/metrics` and `/readyz` of a role's process.
    #[must_use]
    pub fn http(&self, role: &str) -> SocketAddr {
        let own = self.processes.iter().find(|process| process.role == role);
        own.or(self.processes.first()).map_or(loopback(self.ports.http[0]), |process| process.http)
    }

    /// The process of a role.
    ///
    /// # Panics
    /// If no process is running.
    #[must_use]
    pub fn pid(&self, role: &str) -> u32 {
        let own = self.processes.iter().find(|process| process.role == role);
        own.or(self.processes.first()).expect("a process is running").child.id()
    }

    /// Names of the running processes of routers; one of all roles is one.
    #[must_use]
    pub fn routers(&self) -> Vec<&'static str> {
        let routes = |role: &&str| role.starts_with("router") || *role == "all";
        self.processes.iter().map(|process| process.role).filter(routes).collect()
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.plan.data
    }

    /// Starts the processes that are not running, on the same ports and data.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn start_again(&mut self) -> Result<(), String> {
        let distributed = matches!(self.plan.mode, Mode::Distributed { .. });
        let wanted = if distributed { ROLES.len() } else { 1 };
        std::fs::create_dir_all(&self.plan.data).map_err(|error| error.to_string())?;
        for (index, name) in ROLES.into_iter().enumerate().take(wanted) {
            let role = if distributed { name } else { "all" };
            if self.processes.iter().any(|process| process.role == role) {
                continue;
            }
            let address = loopback(self.ports.http[index]);
            self.spawn(role, distributed.then_some(index), address)?;
        }
        Ok(())
    }

    /// Starts the processes again that have ended by themselves, as a supervisor does; gives how many had.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn revive(&mut self) -> Result<usize, String> {
        let before = self.processes.len();
        self.processes.retain_mut(|process| matches!(process.child.try_wait(), Ok(None)));
        let ended = before - self.processes.len();
        if ended > 0 {
            self.start_again()?;
        }
        Ok(ended)
    }

    /// Starts one more router of a distributed hub under a name of its own, by which the other calls know it.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn join_router(&mut self, name: &'static str) -> Result<(), String> {
        let router = ROLES.iter().position(|role| *role == "router");
        self.spawn(name, router, loopback(free_ports(1)[0]))
    }

    fn spawn(
        &mut self,
        name: &'static str,
        role: Option<usize>,
        http: SocketAddr,
    ) -> Result<(), String> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(name))
            .map_err(|error| format!("failed to open the log of {name}: {error}"))?;
        let child = self
            .plan
            .command(self.ports, http, role)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("failed to start {}: {error}", binary().display()))?;
        self.processes.push(Process { role: name, child, http });
        Ok(())
    }

    /// Waits until every process says it is ready.
    ///
    /// # Errors
    /// What is missing, and the last lines of the program's log, after [`PATIENCE`].
    pub fn wait_ready(&mut self) -> Result<(), String> {
        for index in 0..self.processes.len() {
            let (role, http) = (self.processes[index].role, self.processes[index].http);
            let child = &mut self.processes[index].child;
            let ready = until(&format!("{role} to be ready"), PATIENCE, || {
                if let Ok(Some(status)) = child.try_wait() {
                    return Err(format!("it exited with {status}"));
                }
                let (status, body) = get(http, "/readyz")?;
                if status == 200 { Ok(()) } else { Err(body) }
            });
            ready.map_err(|error| format!("{error}\n{}", self.last_lines(role)))?;
        }
        Ok(())
    }

    /// SIGKILL to every process, or to one role.
    pub fn kill(&mut self, role: Option<&str>) {
        for process in &mut self.processes {
            if role.is_none_or(|role| role == process.role) {
                // A process that is gone already is what was wanted.
                let _ = process.child.kill();
                let _ = process.child.wait();
            }
        }
        self.processes.retain(|process| role.is_some_and(|role| role != process.role));
    }

    /// SIGTERM to every process, then waits for their ends.
    ///
    /// # Errors
    /// If one does not end in time.
    pub fn stop(&mut self) -> Result<Vec<ExitStatus>, String> {
        for process in &self.processes {
            signal(&process.child, "TERM")?;
        }
        std::mem::take(&mut self.processes).iter_mut().map(Process::wait_end).collect()
    }

    /// The same for the process of one role alone; a process of several roles goes on.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop_role(&mut self, role: &str) -> Result<(), String> {
        for mut process in self.processes.extract_if(.., |process| process.role == role) {
            signal(&process.child, "TERM")?;
            process.wait_end()?;
        }
        Ok(())
    }

    /// Sends a signal by name to every process, or to that of one role.
    ///
    /// # Errors
    /// If `kill` cannot be run or refuses.
    pub fn signal(&self, role: Option<&str>, name: &str) -> Result<(), String> {
        let mut meant = self.processes.iter().filter(|it| role.is_none_or(|role| role == it.role));
        meant.try_for_each(|process| signal(&process.child, name))
    }

    /// Names of the running processes.
    #[must_use]
    pub fn processes(&self) -> Vec<&'static str> {
        self.processes.iter().map(|process| process.role).collect()
    }

    /// Waits for the first process to end by itself.
    ///
    /// # Errors
    /// If it goes on running.
    pub fn wait_end(&mut self) -> Result<ExitStatus, String> {
        let Some(process) = self.processes.first_mut() else {
            return Err("no process is running".to_owned());
        };
        process.wait_end()
    }

    /// The last lines that a process wrote.
    #[must_use]
    pub fn last_lines(&self, role: &str) -> String {
        let text = self.words(role);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Everything that a process wrote.
    #[must_use]
    pub fn words(&self, role: &str) -> String {
        std::fs::read_to_string(self.log_path(role)).unwrap_or_default()
    }

    /// A fresh token of a unit, made by the program itself.
    ///
    /// # Errors
    /// The program's words.
    pub fn token(&self, unit: &str) -> Result<String, String> {
        let mut command = Command::new(binary());
        command.args(["token", "new", "--unit", unit, "--config"]).arg(&self.plan.config);
        command.arg("--data").arg(&self.plan.data);
        if let Mode::Distributed { postgres, .. } = &self.plan.mode {
            command.arg("--set").arg(format!("store.url={postgres}"));
        }
        let output = run(&mut command)?;
        Ok(output.trim().to_owned())
    }

    /// Runs another command of the program against this hub's data and settings.
    ///
    /// # Errors
    /// The program's words when it fails.
    pub fn cli(&self, arguments: &[&str]) -> Result<String, String> {
        let mut plain = self.plan.command(self.ports, loopback(self.ports.http[0]), None);
        let mut command = Command::new(binary());
        command.args(arguments).args(plain.get_args().skip(1));
        plain.env_clear();
        run(&mut command)
    }

    /// The records of a topic as the program shows them, in its order.
    ///
    /// # Panics
    /// If the log cannot be read, or a line is no JSON.
    #[must_use]
    pub fn records(&self, topic: &str) -> Vec<Value> {
        let records = self.log_lines(topic).into_iter();
        records.map(|mut line| line["record"].take()).collect()
    }

    /// The same with where each lies.
    ///
    /// # Panics
    /// As [`Hub::records`].
    #[must_use]
    pub fn log_lines(&self, topic: &str) -> Vec<Value> {
        let printed = self.cli(&["log", "read", "--topic", topic]).expect("the log can be read");
        let line = |line: &str| serde_json::from_str(line).expect("one JSON object a line");
        printed.lines().map(line).collect()
    }

    /// One metric's value, summed over its label sets that contain `label` (`""` for all).
    ///
    /// # Errors
    /// If the metrics cannot be read.
    pub fn metric(&self, role: &str, name: &str, label: &str) -> Result<f64, String> {
        let (_, text) = get(self.http(role), "/metrics")?;
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(label)
        });
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// A failed test says what the processes said last, and which had ended: their folder goes with it.
    fn tell(&mut self) {
        let state = |process: &mut Process| (process.role, process.child.try_wait());
        let states: Vec<_> = self.processes.iter_mut().map(state).collect();
        for (role, state) in states {
            eprintln!("{role}: {state:?}\n{}", self.last_lines(role));
        }
    }

    fn log_path(&self, role: &str) -> PathBuf {
        self.plan.data.join(format!("{role}.log"))
    }
}

impl Process {
    fn wait_end(&mut self) -> Result<ExitStatus, String> {
        until(&format!("the process of {} to end", self.role), PATIENCE, || {
            match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                other => Err(format!("{other:?}")),
            }
        })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        self.kill(None);
    }
}

/// Sends a signal by name.
///
/// # Errors
/// If `kill` cannot be run or refuses.
pub fn signal(child: &Child, name: &str) -> Result<(), String> {
    run(Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string())).map(|_| ())
}

/// A GET over plain HTTP: status and body.
///
/// # Errors
/// The socket's.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = fetch().map_err(|error| format!("failed to GET {address}{path}: {error}"))?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// Its words and its status when it fails.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("failed to run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{command:?} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    ))
}

/// The address of a service, as the test command exports it.
///
/// # Errors
/// If it is not set: the text says how to get it.
pub fn service(variable: &str) -> Result<String, String> {
    std::env::var(variable).map_err(|_| {
        format!(
            "{variable} is not set: run the tests by `cargo xtask test`, which starts the services"
        )
    })
}

fn own_database(url: &str, name: &str) -> Result<String, String> {
    let own = format!("yiwang_{}_{}", name.replace('-', "_"), std::process::id());
    run(Command::new("psql").args([url, "-qc", &format!("CREATE DATABASE {own}")]))?;
    let (server, _) = url.rsplit_once('/').ok_or_else(|| format!("{url} names no database"))?;
    Ok(format!("{server}/{own}"))
}

/// The program under test: `YIWANG_BIN`, or the one this workspace builds, built once.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("YIWANG_BIN") {
            return PathBuf::from(path);
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.current_dir(repository()).args(["build", "-p", "yiwang"]);
        // What cargo tells a test of its package looks like a change to build scripts, which then run again.
        let told =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(told) {
                build.env_remove(name);
            }
        }
        if cfg!(feature = "services") {
            build.args(["--features", "yiwang/kafka"]);
        }
        if cfg!(feature = "fault-points") {
            build.args(["--features", "yiwang/fault-points"]);
        }
        let built = run(&mut build);
        built.expect("the program under test builds");
        let own = std::env::current_exe().expect("a test knows its own path");
        let target = own.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
        target.join("yiwang")
    })
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Ports that were free a moment ago.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports"))
        .collect();
    listeners.iter().map(|listener| listener.local_addr().expect("a bound socket").port()).collect()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
