package consistency

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestConfigOutside(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	c := Config{
		Outbox: "orders", Redis: client, Kafka: []kgo.Opt{kgo.SeedBrokers("localhost:1")},
		Outside: &Outside{Shards: -1},
	}
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "Outside.Shards") {
		t.Errorf("a negative number of shards: %v", err)
	}
	c.Outside = &Outside{Shards: 2, From: EntryID{MS: 3}, To: EntryID{MS: 5}}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	*c.Outside = Outside{}
	if s := a.settings(); !s.outside || s.from.MS != 3 || s.to.MS != 5 {
		t.Errorf("the settings of an audit from outside: %v, %v to %v", s.outside, s.from, s.to)
	}
	if n, err := a.shards(t.Context(), nil); n != 2 || err != nil {
		t.Errorf("%d shards, %v, want the 2 given", n, err)
	}
}
