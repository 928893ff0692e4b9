package config

// The tags of a setting:
//
//	yaml     its name in the file; its path is the names from the top joined by dots
//	default  its default, as one would write it in the environment; absent: empty, zero, false
//	doc      one sentence for docs, schema and the comments of a generated file
//	enum     the allowed values
//	min,max  the allowed range of a number, a size or a duration
//	unset    what an empty or zero value means, where it means something
//	off      "true": a duration that takes the word off
//	secret   "env": taken from the environment alone and never printed;
//	         "url": a password inside is not printed

// Config is the whole configuration. It is made by Load.
type Config struct {
	Outbox    Outbox    `yaml:"outbox" doc:"The outbox."`
	Redis     Redis     `yaml:"redis" doc:"The Redis deployment of the outbox. One of url, addrs and sentinel."`
	Kafka     Kafka     `yaml:"kafka" doc:"The Kafka cluster."`
	Relay     Relay     `yaml:"relay" doc:"How entries become records."`
	Audit     Audit     `yaml:"audit" doc:"When and how both sides are compared."`
	HTTP      HTTP      `yaml:"http" doc:"The listener for metrics and health."`
	Telemetry Telemetry `yaml:"telemetry" doc:"Metrics and logs."`

	origins map[string]Origin
	// settings and sections whose value was refused; "" if the file could not be read at all
	failed  map[string]bool
	ignored []string
}

// Outbox names the outbox and its size.
type Outbox struct {
	Name   string `yaml:"name" doc:"Name of the outbox: 1 to 100 of letters, digits, '.', '_' and '-', the first a letter or a digit. Required."`
	Shards int    `yaml:"shards" default:"4" min:"1" max:"1024" doc:"Number of shards that 'sluice migrate apply' creates. Afterwards the layout in Redis decides."`
}

// Redis says how to reach the deployment.
type Redis struct {
	URL          string   `yaml:"url" secret:"url" doc:"One server: redis://[user@]host:port/db, rediss:// for TLS, or unix:///path."`
	Addrs        []string `yaml:"addrs" doc:"Redis Cluster: some of its nodes, host:port."`
	Sentinel     Sentinel `yaml:"sentinel" doc:"A master that Sentinel watches."`
	DB           int      `yaml:"db" min:"0" doc:"Database of a master behind Sentinel. With url it is in the URL; a cluster has only 0."`
	Username     string   `yaml:"username" doc:"ACL user." unset:"the user of the URL, or default"`
	Password     string   `yaml:"password" secret:"env" doc:"Password, from the environment alone; in a file use password_file."`
	PasswordFile string   `yaml:"password_file" doc:"File with the password; read again when it changes."`
	TLS          TLS      `yaml:"tls" doc:"TLS to Redis and Sentinel."`
}

// Sentinel says how to find the master.
type Sentinel struct {
	Master       string   `yaml:"master" doc:"Name of the master, as in 'sentinel monitor'."`
	Addrs        []string `yaml:"addrs" doc:"The sentinels, host:port."`
	Username     string   `yaml:"username" doc:"ACL user of the sentinels themselves."`
	Password     string   `yaml:"password" secret:"env" doc:"Password of the sentinels, from the environment alone."`
	PasswordFile string   `yaml:"password_file" doc:"File with the password of the sentinels. Read once, at start."`
}

// TLS of one side. It is on when enabled is true, when any of the other settings is set, or by a
// rediss:// URL.
type TLS struct {
	Enabled            bool   `yaml:"enabled" doc:"TLS 1.2 or newer with the system's certificate authorities. Any other setting of this section switches it on as well."`
	CAFile             string `yaml:"ca_file" doc:"Certificate authorities, PEM; read again when the file changes." unset:"the system's"`
	CertFile           string `yaml:"cert_file" doc:"Client certificate, PEM; read again when the file changes."`
	KeyFile            string `yaml:"key_file" doc:"Private key of cert_file, PEM."`
	ServerName         string `yaml:"server_name" doc:"Name that the server's certificate must have." unset:"the host that was dialled"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify" doc:"Accept any certificate. For experiments only: anyone on the path can read and change everything."`
}

// On reports whether the section asks for TLS.
func (t TLS) On() bool { return t != TLS{} }

// Kafka says how to reach the cluster.
type Kafka struct {
	Brokers     []string `yaml:"brokers" doc:"Some of the brokers, host:port. Required."`
	ClientID    string   `yaml:"client_id" default:"sluice" doc:"Client id, as quotas and the brokers' logs see it."`
	Compression string   `yaml:"compression" default:"lz4" enum:"none,gzip,snappy,lz4,zstd" doc:"Compression of what the relay produces."`
	TLS         TLS      `yaml:"tls" doc:"TLS to the brokers."`
	SASL        SASL     `yaml:"sasl" doc:"Authentication to the brokers."`
}

// SASL is the authentication to the brokers.
type SASL struct {
	Mechanism    string `yaml:"mechanism" enum:"plain,scram-sha-256,scram-sha-512,oauthbearer,aws-msk-iam" doc:"Mechanism; aws-msk-iam takes its keys from the AWS_ environment variables or the shared credentials file." unset:"no authentication"`
	Username     string `yaml:"username" doc:"User of plain and scram."`
	Password     string `yaml:"password" secret:"env" doc:"Password of plain and scram, from the environment alone; in a file use password_file."`
	PasswordFile string `yaml:"password_file" doc:"File with the password; read again when it changes."`
	TokenFile    string `yaml:"token_file" doc:"File with the token of oauthbearer; read again when it changes."`
}

// Relay says how entries become records.
type Relay struct {
	Delivery   string     `yaml:"delivery" default:"exactly-once" enum:"exactly-once,at-least-once" doc:"Where the position lives: in Kafka's transactions, or in the Redis consumer group."`
	Route      string     `yaml:"route" default:"outbox.event.{{.AggregateType}}" doc:"Template of the topic over .AggregateType, .AggregateID, .Type, .Key, .ContentType and {{header \"name\"}}; an event's own topic comes first."`
	Format     string     `yaml:"format" default:"raw" enum:"raw,cloudevents-binary,cloudevents-structured" doc:"Form of the records."`
	Source     string     `yaml:"source" doc:"The source attribute of CloudEvents." unset:"sluice/<outbox>"`
	Tombstones bool       `yaml:"tombstones" doc:"An empty payload becomes a Kafka null value."`
	DeadLetter DeadLetter `yaml:"dead_letter" doc:"What becomes of entries that cannot be delivered."`
	Topics     Topics     `yaml:"topics" doc:"What becomes of entries whose topic does not exist or has changed."`
	OnMismatch string     `yaml:"on_mismatch" default:"halt" enum:"halt,continue" doc:"What a shard does whose entry at the position is gone or another one: Redis was rolled back or replaced."`
	Trim       Trim       `yaml:"trim" doc:"How long delivered entries stay in Redis."`

	MaxEntries  int  `yaml:"max_entries" default:"10000" min:"1" doc:"Most entries of one Kafka transaction."`
	MaxBytes    Size `yaml:"max_bytes" default:"16MiB" min:"1KiB" max:"1GiB" doc:"Most bytes of one Kafka transaction."`
	MaxInFlight Size `yaml:"max_in_flight" default:"32MiB" min:"1KiB" doc:"Most bytes that this relay holds for all its shards."`

	Lanes  int      `yaml:"lanes" default:"1" min:"1" max:"64" doc:"How many lanes carry the shards that are well; more where brokers and cores are many."`
	Linger Duration `yaml:"linger" default:"0s" max:"1s" doc:"Least time between the beginnings of two transactions of a lane; trades latency for broker load."`

	TransactionTimeout   Duration `yaml:"transaction_timeout" default:"10s" min:"1s" doc:"When brokers abort the transaction of a dead relay; until then read_committed readers wait."`
	SessionTimeout       Duration `yaml:"session_timeout" default:"6s" min:"1s" doc:"When a silent relay's shards go to others."`
	HousekeepingInterval Duration `yaml:"housekeeping_interval" default:"1s" min:"10ms" doc:"Pace of mirroring, trimming, pausing and status."`
	DrainTimeout         Duration `yaml:"drain_timeout" default:"10s" min:"100ms" doc:"How long a stopping shard may take to finish its open transaction."`

	Assign   []int  `yaml:"assign" doc:"Fixed shards of this relay, instead of sharing them through Kafka's group coordinator." unset:"shared"`
	Init     bool   `yaml:"init" doc:"Let a first start begin at the first retained entry of a stream that may have been trimmed before."`
	Instance string `yaml:"instance" doc:"Name of this relay in logs, status and positions." unset:"host, process id and a random part"`
}

// DeadLetter is what becomes of entries that cannot be delivered.
type DeadLetter struct {
	Topic string   `yaml:"topic" doc:"Topic that takes them." unset:"sluice.<outbox>.dlq"`
	On    []string `yaml:"on" default:"undecodable,too_large,no_route,rejected" enum:"undecodable,too_large,no_route,unknown_topic,rejected" doc:"Reasons that dead-letter an entry; any other reason halts its shard before it."`
}

// Topics is what becomes of entries whose topic does not exist or has changed.
type Topics struct {
	OnUnknown         string `yaml:"on_unknown" default:"create" enum:"create,dead_letter,halt" doc:"Create the topic, dead-letter the entry or halt the shard."`
	Partitions        int    `yaml:"partitions" min:"0" max:"100000" doc:"Partitions of a created topic." unset:"the number of shards"`
	ReplicationFactor int    `yaml:"replication_factor" min:"0" max:"100" doc:"Replicas of a created topic." unset:"the brokers' default"`
	OnChanged         string `yaml:"on_changed" default:"halt" enum:"halt,continue" doc:"What a shard does when a topic was deleted and created again, or given partitions, while the relay runs."`
}

// Trim is how long delivered entries stay in Redis.
type Trim struct {
	Keep Duration `yaml:"keep" default:"1h" min:"1ms" off:"true" doc:"Least age of a trimmed entry; off: never trim. What Kafka has not confirmed is never trimmed."`

	AfterAudit bool `yaml:"after_audit" doc:"Trim only what an audit has compared as well. Without audits nothing is trimmed: see audit.schedule."`
}

// Audit says when and how both sides are compared.
type Audit struct {
	Schedule    string   `yaml:"schedule" doc:"When the relays audit, and 'sluice audit --schedule': a cron expression of five fields, @hourly or @every 15m; TZ=Europe/Berlin and a space may stand before it." unset:"relays do not audit"`
	Settle      Duration `yaml:"settle" default:"30s" doc:"How long an entry may take to Kafka: what is not there so long after it was the last entry of its shard is late, or lost."`
	OnDuplicate string   `yaml:"on_duplicate" enum:"drift,report" doc:"Whether a second record of an entry is drift, or is only reported." unset:"drift in exactly-once delivery, report in at-least-once"`
	Rate        int      `yaml:"rate" min:"0" doc:"Most entries and records that an audit reads a second." unset:"no limit"`
	Effort      int      `yaml:"effort" min:"0" max:"100" doc:"Percent of the time in which an audit reads and compares; in the rest it leaves the servers to others." unset:"20 for audits on a schedule, 100 for one by hand"`
	Replica     string   `yaml:"replica" secret:"url" doc:"URL of a Redis replica from which entries are read, with the credentials and TLS of the section redis unless it has its own." unset:"the primary"`
	Watch       []string `yaml:"watch" doc:"Patterns of topics in which records may be that should not, such as orders.*." unset:"topics that begin as the route does"`
}

// HTTP is the listener of the relay, and of 'sluice audit --schedule'.
type HTTP struct {
	Listen string `yaml:"listen" default:"127.0.0.1:8080" doc:"host:port for /metrics, /livez, /readyz; off: none. It has no authentication: keep it on loopback or behind a network policy."`
	Pprof  bool   `yaml:"pprof" doc:"Serve Go profiles under /debug/pprof/."`
}

// Telemetry is what the process tells about itself.
type Telemetry struct {
	Prometheus bool `yaml:"prometheus" default:"true" doc:"Serve /metrics."`
	Log        Log  `yaml:"log" doc:"Logs, to standard error."`
}

// Log says how log lines look.
type Log struct {
	Format string `yaml:"format" default:"auto" enum:"auto,json,text" doc:"Form of a line; auto: text on a terminal, json elsewhere."`
	Level  string `yaml:"level" default:"info" enum:"debug,info,warn,error" doc:"Least level that is logged."`
}
