package inbox

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

func validConfig(t *testing.T) Config {
	client := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { client.Close() })
	return Config{
		Inbox: "shipping", Redis: client, Kafka: []kgo.Opt{kgo.SeedBrokers("b:1")}, Topics: []string{"t"},
		Handle: func(context.Context, *Tx, Record) error { return nil },
	}
}

func TestConfigRefuses(t *testing.T) {
	if _, err := New(validConfig(t)); err != nil {
		t.Fatal(err)
	}
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	for says, change := range map[string]func(*Config){
		"inbox":             func(c *Config) { c.Inbox = "a b" },
		"Redis is required": func(c *Config) { c.Redis = nil },
		"Ring":              func(c *Config) { c.Redis = ring },
		"Kafka is required": func(c *Config) { c.Kafka = nil },
		"Config.Kafka": func(c *Config) {
			c.Kafka = []kgo.Opt{
				kgo.ClientID(""), kgo.MaxVersions(nil), kgo.RequestRetries(-1),
				kgo.MetadataMaxAge(time.Microsecond),
			}
		},
		"Topics is required":        func(c *Config) { c.Topics = nil },
		`topic "t"`:                 func(c *Config) { c.Topics = []string{"t", "t"} },
		`topic "sluice-inbox.shipp`: func(c *Config) { c.Topics = []string{DeadLetterTopic("shipping")} },
		"Handle is required":        func(c *Config) { c.Handle = nil },
		"outbox name":               func(c *Config) { c.Outbox = "a b" },
		"Writer": func(c *Config) {
			c.Outbox, c.Writer = "o", outbox.Config{MaxEvents: -1}
		},
		"Assign has topic":    func(c *Config) { c.Assign = map[string][]int32{"u": {0}} },
		"OnError 7":           func(c *Config) { c.OnError = 7 },
		"Start -1":            func(c *Config) { c.Start = -1 },
		"OnPartitionsAdded 2": func(c *Config) { c.OnPartitionsAdded = 2 },
		"Slots":               func(c *Config) { c.Slots = -1 },
		"Retry.Attempts":      func(c *Config) { c.Retry.Attempts = -1 },
		"Retry.Wait":          func(c *Config) { c.Retry.Wait = -1 },
		"Retry.MaxWait": func(c *Config) {
			c.Retry.Wait, c.Retry.MaxWait = time.Second, time.Millisecond
		},
		"MaxParked":            func(c *Config) { c.MaxParked = -1 },
		"MaxRecords":           func(c *Config) { c.MaxRecords = -1 },
		"MaxBytes":             func(c *Config) { c.MaxBytes = -1 },
		"MaxTime":              func(c *Config) { c.MaxTime = -1 },
		"MaxInFlight":          func(c *Config) { c.MaxInFlight = 5 },
		"SessionTimeout":       func(c *Config) { c.SessionTimeout = 1 },
		"HousekeepingInterval": func(c *Config) { c.HousekeepingInterval = -1 },
		"DrainTimeout":         func(c *Config) { c.DrainTimeout = -1 },
	} {
		cfg := validConfig(t)
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error with %q, got %v", says, err)
		}
	}
}

// Every field has a default, or is required or nothing by itself: none is forgotten when fields are
// added.
func TestConfigDefaults(t *testing.T) {
	zero := []string{
		"Outbox", "Slots", "RequireSameSlot", "Start", "OnPartitionsAdded", "OnError",
		"CheckTypes", "Assign", "Writer",
	}
	cfg := validConfig(t).withDefaults()
	v := reflect.ValueOf(cfg)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() != slices.Contains(zero, name) {
			t.Errorf("%s is %v", name, v.Field(i))
		}
	}
}

func TestNamesOfPolicies(t *testing.T) {
	for i, name := range []string{"halt", "dead_letter", "park"} {
		if p, err := ParseErrorPolicy(name); err != nil || int(p) != i || p.String() != name {
			t.Error(name, p, err)
		}
	}
	for i, name := range []string{"beginning", "earliest", "end"} {
		if s, err := ParseStart(name); err != nil || int(s) != i || s.String() != name {
			t.Error(name, s, err)
		}
	}
	if p, err := ParseChangePolicy("continue"); err != nil || p != ContinueOnChange {
		t.Error(p, err)
	}
	if _, err := ParseErrorPolicy("drop"); err == nil ||
		!strings.Contains(err.Error(), "halt, dead_letter, park") {
		t.Error(err)
	}
}
