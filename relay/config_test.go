package relay

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	c := Config{Outbox: "orders"}.withDefaults()
	for name, got := range map[string][2]any{
		"Route": {c.Route, "outbox.event.{{.AggregateType}}"}, "Source": {c.Source, "sluice/orders"},
		"Format": {c.Format, FormatRaw}, "Delivery": {c.Delivery, DeliveryExactlyOnce},
		"DeadLetter.Topic": {c.DeadLetter.Topic, "sluice.orders.dlq"},
		"Trim.Keep":        {c.Trim.Keep, time.Hour},
		"Lanes":            {c.Lanes, 1}, "Linger": {c.Linger, time.Duration(0)},
		"MaxEntries": {c.MaxEntries, 10_000}, "MaxBytes": {c.MaxBytes, 16 << 20},
		"MaxInFlight":          {c.MaxInFlight, 32 << 20},
		"TransactionTimeout":   {c.TransactionTimeout, 10 * time.Second},
		"SessionTimeout":       {c.SessionTimeout, 6 * time.Second},
		"HousekeepingInterval": {c.HousekeepingInterval, time.Second},
		"DrainTimeout":         {c.DrainTimeout, 10 * time.Second},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %v, want %v", name, got[0], got[1])
		}
	}
	if want := []Reason{
		ReasonUndecodable, ReasonTooLarge, ReasonNoRoute,
		ReasonRejected,
	}; !slices.Equal(c.DeadLetter.On, want) {
		t.Errorf("DeadLetter.On is %v, want %v", c.DeadLetter.On, want)
	}
	if c.Logger == nil || c.Observer == nil || c.Assign != nil {
		t.Errorf("Logger %v, Observer %v, Assign %v", c.Logger, c.Observer, c.Assign)
	}
	if other := (Config{Outbox: "orders"}).withDefaults(); c.Instance == "" ||
		c.Instance == other.Instance {
		t.Errorf("instances %q and %q of two relays on one host", c.Instance, other.Instance)
	}
	if kept := (Config{
		Trim:       Trim{Keep: -1},
		DeadLetter: DeadLetter{On: []Reason{}},
	}).withDefaults(); kept.Trim.Keep != -1 ||
		kept.DeadLetter.On == nil || len(kept.DeadLetter.On) != 0 {
		t.Errorf("what was said was not kept: %+v", kept)
	}
	unknown := Config{Topics: Topics{OnUnknown: UnknownTopicDeadLetter}}.withDefaults().withDefaults()
	if want := []Reason{
		ReasonUndecodable, ReasonTooLarge, ReasonNoRoute, ReasonRejected,
		ReasonUnknownTopic,
	}; !slices.Equal(unknown.DeadLetter.On, want) {
		t.Errorf("with unknown topics dead-lettered, On is %v, want %v", unknown.DeadLetter.On, want)
	}
}

// The caller's slices stay the caller's.
func TestConfigIsCopied(t *testing.T) {
	t.Parallel()
	in := validConfig()
	in.Assign, in.DeadLetter.On = []int{1, 2}, []Reason{ReasonTooLarge, ReasonNoRoute}
	r, err := New(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Assign[0], in.DeadLetter.On[0] = 7, "nonsense"
	if r.cfg.Assign[0] != 1 || r.cfg.DeadLetter.On[0] != ReasonTooLarge {
		t.Errorf("the relay has %v and %v", r.cfg.Assign, r.cfg.DeadLetter.On)
	}
}

func validConfig() Config {
	return Config{
		Outbox: "orders", Redis: redis.NewClient(&redis.Options{}),
		Kafka: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:9092")},
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	if _, err := New(validConfig()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no outbox":           {func(c *Config) { c.Outbox = "" }, "outbox name"},
		"outbox with a brace": {func(c *Config) { c.Outbox = "{a}" }, "outbox name"},
		"no Redis":            {func(c *Config) { c.Redis = nil }, "Config.Redis"},
		"no Kafka":            {func(c *Config) { c.Kafka = nil }, "Config.Kafka"},
		"bad Kafka option": {func(c *Config) {
			c.Kafka = append(c.Kafka, kgo.MaxBufferedRecords(-1))
		}, "Config.Kafka"},
		"Delivery":          {func(c *Config) { c.Delivery = 2 }, "Delivery"},
		"Delivery negative": {func(c *Config) { c.Delivery = -1 }, "Delivery"},
		"Format":            {func(c *Config) { c.Format = 3 }, "Format"},
		"OnMismatch":        {func(c *Config) { c.OnMismatch = 2 }, "OnMismatch"},
		"OnUnknown":         {func(c *Config) { c.Topics.OnUnknown = 3 }, "OnUnknown"},
		"OnChanged":         {func(c *Config) { c.Topics.OnChanged = 2 }, "OnChanged"},
		"reason": {func(c *Config) {
			c.DeadLetter.On = []Reason{"too-large"}
		}, `"too-large"`},
		"unknown_topic, halt": {func(c *Config) {
			c.DeadLetter.On = []Reason{ReasonUnknownTopic}
			c.Topics.OnUnknown = UnknownTopicHalt
		}, "unknown_topic"},
		"DLQ name": {func(c *Config) { c.DeadLetter.Topic = "a b" }, "DeadLetter.Topic"},
		"DLQ is positions": {func(c *Config) {
			c.DeadLetter.Topic = names.PositionsTopic("orders")
		}, "DeadLetter.Topic"},
		"route": {func(c *Config) { c.Route = "{{.Tenant}}" }, "Tenant"},
		"route to positions": {func(c *Config) {
			c.Route = names.PositionsTopic("orders")
		}, names.PositionsTopic("orders")},
		"MaxEntries":      {func(c *Config) { c.MaxEntries = -1 }, "MaxEntries"},
		"MaxBytes":        {func(c *Config) { c.MaxBytes = -1 }, "MaxBytes"},
		"MaxInFlight":     {func(c *Config) { c.MaxInFlight = -1 }, "MaxInFlight"},
		"Lanes":           {func(c *Config) { c.Lanes = -1 }, "Lanes"},
		"Lanes too many":  {func(c *Config) { c.Lanes = 65 }, "Lanes"},
		"Linger":          {func(c *Config) { c.Linger = -time.Millisecond }, "Linger"},
		"Linger too long": {func(c *Config) { c.Linger = time.Second + 1 }, "Linger"},
		"TransactionTimeout": {func(c *Config) {
			c.TransactionTimeout = -time.Second
		}, "TransactionTimeout"},
		"TransactionTimeout ms": {func(c *Config) {
			c.TransactionTimeout = time.Millisecond
		}, "TransactionTimeout"},
		"SessionTimeout": {func(c *Config) { c.SessionTimeout = -time.Second }, "SessionTimeout"},
		"HousekeepingInterval": {func(c *Config) {
			c.HousekeepingInterval = -time.Second
		}, "HousekeepingInterval"},
		"DrainTimeout":        {func(c *Config) { c.DrainTimeout = -time.Second }, "DrainTimeout"},
		"Partitions":          {func(c *Config) { c.Topics.Partitions = -1 }, "Partitions"},
		"Partitions too many": {func(c *Config) { c.Topics.Partitions = 1 << 33 }, "Partitions"},
		"ReplicationFactor": {func(c *Config) {
			c.Topics.ReplicationFactor = 1 << 16
		}, "ReplicationFactor"},
		"Assign": {func(c *Config) { c.Assign = []int{0, -1} }, "-1"},
	} {
		cfg := validConfig()
		c.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}

	all := Config{Delivery: 9, Format: 9, MaxEntries: -1, DrainTimeout: -1, Route: "{{"}
	_, err := New(all)
	for _, want := range []string{
		"outbox name", "Config.Redis", "Config.Kafka", "Delivery", "Format",
		"MaxEntries", "DrainTimeout", "route",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not every mistake is reported: no %q in %v", want, err)
		}
	}
	if _, again := New(all); again == nil || again.Error() != err.Error() {
		t.Errorf("the same mistakes are told in another order:\n%v\n%v", err, again)
	}
}

func TestNamesOfChoices(t *testing.T) {
	t.Parallel()
	for text, parse := range map[string]func(string) (fmt.Stringer, error){
		"exactly-once":           func(s string) (fmt.Stringer, error) { return ParseDelivery(s) },
		"at-least-once":          func(s string) (fmt.Stringer, error) { return ParseDelivery(s) },
		"raw":                    func(s string) (fmt.Stringer, error) { return ParseFormat(s) },
		"cloudevents-binary":     func(s string) (fmt.Stringer, error) { return ParseFormat(s) },
		"cloudevents-structured": func(s string) (fmt.Stringer, error) { return ParseFormat(s) },
		"create": func(s string) (fmt.Stringer, error) {
			return ParseUnknownTopicPolicy(s)
		},
		"dead_letter": func(s string) (fmt.Stringer, error) {
			return ParseUnknownTopicPolicy(s)
		},
		"halt": func(s string) (fmt.Stringer, error) { return ParseMismatchPolicy(s) },
		"continue": func(s string) (fmt.Stringer, error) {
			return ParseTopicChangePolicy(s)
		},
	} {
		if got, err := parse(text); err != nil || got.String() != text {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
		if _, err := parse(text + "x"); err == nil || !strings.Contains(err.Error(), "want one of") {
			t.Errorf("%sx: %v", text, err)
		}
	}
	for _, unknown := range []fmt.Stringer{
		Delivery(7), Format(-1), MismatchPolicy(7),
		UnknownTopicPolicy(7), TopicChangePolicy(7),
	} {
		if got := unknown.String(); !strings.HasPrefix(got, "unknown(") {
			t.Errorf("%s", got)
		}
	}
}

// facts is what a relay did in a scenario that has something for every field of the configuration
// to change.
func facts(t *testing.T, change func(*testEnv, *Config)) (text string) {
	t.Helper()
	inTestEnv(t, 3, func(t *testing.T, l *testEnv) {
		found := map[string]any{}
		var mu sync.Mutex
		note := func(name string, value any) {
			mu.Lock()
			defer mu.Unlock()
			found[name] = value
		}
		lanes := map[string]bool{}
		gap, last := time.Hour, time.Time{}
		l.cluster.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			switch req := req.(type) {
			case *kmsg.InitProducerIDRequest:
				note("transaction timeout", req.TransactionTimeoutMillis)
				if req.TransactionalID != nil {
					mu.Lock()
					lanes[*req.TransactionalID] = true
					mu.Unlock()
				}
			case *kmsg.EndTxnRequest:
				mu.Lock()
				gap, last = min(gap, time.Since(last)), time.Now()
				mu.Unlock()
			case *kmsg.JoinGroupRequest:
				note("session timeout", req.SessionTimeoutMillis)
				note("rebalance timeout", req.RebalanceTimeoutMillis)
			case *kmsg.CreateTopicsRequest:
				note("created "+req.Topics[0].Topic,
					fmt.Sprint(req.Topics[0].NumPartitions, " ", req.Topics[0].ReplicationFactor))
			}
			return nil, nil, false
		})
		polls := 0
		l.on(func(_ *server.Peer, cmd string, args ...string) bool {
			if cmd == "HGETALL" && args[0] == names.ControlKey(l.outbox) {
				mu.Lock()
				polls++
				mu.Unlock()
			}
			return false
		})

		// Shard 0: a backlog with entries that are old, empty, undecodable, or for a topic that
		// does not exist.
		old := time.Now().Add(-2 * time.Hour).UnixMilli()
		for i := range 200 {
			l.add(0, outbox.EntryID{MS: uint64(old), Seq: uint64(i)}.String(), event(fmt.Sprint(i), "k")...)
		}
		l.add(0, "*", event("empty", "k", "contenttype", "text/plain")...)
		l.add(0, "*", with2("payload", "")...)
		l.add(0, "*", event("elsewhere", "k", "topic", "absent")...)
		l.add(0, "*", "colour", "red")
		l.add(0, "*", event("last", "k")...)
		// Shard 1: the entry at its position is not there.
		l.add(1, "*", event("one", "k")...)
		if err := SetPosition(t.Context(), l.opts, l.outbox, 1,
			Position{Entry: outbox.EntryID{MS: 5}, Count: 1, Fingerprint: "00000000000000ff"}); err != nil {
			t.Fatal(err)
		}
		// Shard 2: no position, and a stream that was trimmed.
		l.add(2, "*", event("two", "k")...)
		l.added[l.stream(2)] = 100

		mu.Lock()
		gap, last = time.Hour, time.Time{} // of the relay alone
		mu.Unlock()
		var log bytes.Buffer
		commits, largest, states := 0, 0, map[string]bool{}
		cfg := l.config()
		cfg.Format = FormatCloudEventsBinary // the one in which Source shows
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		cfg.Observer = &Observer{
			Committed: func(c Commit) {
				mu.Lock()
				defer mu.Unlock()
				commits, largest = commits+1, max(largest, c.Entries)
			},
			StateChanged: func(st ShardStatus) {
				mu.Lock()
				defer mu.Unlock()
				states[fmt.Sprint(st.Shard, st.State)] = true
			},
		}
		change(l, &cfg)
		r, err := New(cfg)
		if err != nil {
			text = err.Error()
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(5 * time.Second) // of the bubble
		if l.cluster.TopicInfo("outbox.event.order") != nil {
			if _, err := l.admin().CreatePartitions(t.Context(), 1, "outbox.event.order"); err != nil {
				t.Fatal(err)
			}
		}
		_ = r.Ready() // what Run has made is this goroutine's to see now
		if r.topics != nil {
			r.topics.forget("outbox.event.order")
		}
		l.add(0, "*", event("after the change", "k")...)
		time.Sleep(2 * time.Second)
		status := r.Status()
		cancel()
		note("run", <-done)

		for _, st := range status {
			note(fmt.Sprint("state of ", st.Shard),
				fmt.Sprint(st.State, " ", st.Position.Entry.IsZero(), " ", st.Position.Delivery, " ",
					st.Position.Relay))
		}
		note("states", slices.Sorted(maps.Keys(states)))
		note("commits", fmt.Sprint("large: ", largest > 20, ", many: ", commits > 10))
		if r.engine != nil {
			everything := &delivery.Batch{Cost: 1 << 50}
			if err := r.engine.Hold(t.Context(), everything); err != nil {
				t.Fatal(err)
			}
			note("budget", everything.Cost)
		}
		note("lanes", len(lanes))
		note("lingers", gap > 500*time.Millisecond)
		note("many polls", polls > 40)
		note("logged", log.Len() > 0)
		for shard := range 3 {
			entries, _ := l.mini.Stream(l.stream(shard))
			note(fmt.Sprint("length of ", shard), len(entries))
		}
		var topics []string
		for _, topic := range []string{
			"outbox.event.order", "absent", "elsewhere", "letters",
			names.DeadLetterTopic(l.outbox),
		} {
			if l.cluster.TopicInfo(topic) != nil {
				topics = append(topics, topic)
			}
		}
		records := l.all(topics...)
		sample := map[string]int{}
		for _, rec := range records {
			sample[fmt.Sprint(rec.Topic, len(rec.Headers), rec.Value == nil,
				strings.Contains(string(rec.Value), "specversion"), header(rec, "ce_source"),
				strings.Contains(string(rec.Value), "elsewhere:"))]++
		}
		note("records", fmt.Sprint(sample))
		for _, name := range slices.Sorted(maps.Keys(found)) {
			text += fmt.Sprintf("%s: %v\n", name, found[name])
		}
	})
	return text
}

// with2 is with, as names and values.
func with2(changes ...string) []string {
	fields := event("e-1", "k")
	for i := 0; i < len(fields); i += 2 {
		for j := 0; j < len(changes); j += 2 {
			if fields[i] == changes[j] {
				fields[i+1] = changes[j+1]
			}
		}
	}
	return fields
}

// A field that nothing reads is a promise that nobody keeps.
func TestEveryFieldHasAnEffect(t *testing.T) {
	t.Parallel()
	other := map[string]any{
		"Outbox": "other", "Delivery": DeliveryAtLeastOnce, "Route": "elsewhere",
		"Format": FormatCloudEventsStructured, "Source": "elsewhere:", "Tombstones": true,
		"DeadLetter.Topic": "letters", "DeadLetter.On": []Reason{ReasonTooLarge},
		"Topics.OnUnknown": UnknownTopicHalt, "Topics.Partitions": 5, "Topics.ReplicationFactor": 1,
		"Topics.OnChanged": TopicChangeContinue,
		"OnMismatch":       MismatchContinue, "Trim.Keep": time.Duration(-1), "Lanes": 2,
		"Linger": time.Second, "MaxEntries": 10,
		"Trim.Limit": func(context.Context, int) (outbox.EntryID, error) { return outbox.EntryID{}, nil },
		"MaxBytes":   500, "MaxInFlight": 1 << 20,
		"TransactionTimeout": 7 * time.Second, "SessionTimeout": 9 * time.Second,
		"HousekeepingInterval": 100 * time.Millisecond, "DrainTimeout": 3 * time.Second,
		"Assign": []int{1}, "Init": true, "Instance": "relay-2", "Logger": slog.New(slog.DiscardHandler),
		"Observer": &Observer{},
	}
	usual := facts(t, func(*testEnv, *Config) {})
	if again := facts(t, func(*testEnv, *Config) {}); again != usual {
		t.Fatalf("the scenario is not always the same:\n%s\n%s", usual, again)
	}
	var fields func(path string, of reflect.Type) []string
	fields = func(path string, of reflect.Type) (paths []string) {
		for i := range of.NumField() {
			f := of.Field(i)
			if f.Type.Kind() == reflect.Struct {
				paths = append(paths, fields(path+f.Name+".", f.Type)...)
			} else {
				paths = append(paths, path+f.Name)
			}
		}
		return paths
	}
	for _, path := range fields("", reflect.TypeFor[Config]()) {
		if path == "Redis" || path == "Kafka" {
			continue // without them nothing runs
		}
		value, ok := other[path]
		if !ok {
			t.Errorf("%s: no other value to try; a new field needs one here", path)
			continue
		}
		got := facts(t, func(_ *testEnv, c *Config) {
			v := reflect.ValueOf(c).Elem()
			for name := range strings.SplitSeq(path, ".") {
				v = v.FieldByName(name)
			}
			v.Set(reflect.ValueOf(value))
		})
		if got == usual {
			t.Errorf("%s = %v changes nothing", path, value)
		}
	}
}
