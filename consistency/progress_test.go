package consistency

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// progressStage is an outbox "o" on substitutes of both servers, with a store that writes states as
// audits do.
type progressStage struct {
	mini    *miniredis.Miniredis
	cluster *kfake.Cluster
	cfg     Config
	store   *store
	*Progress
}

func init() { logging.Disable() } // what go-redis logs is in its errors too

func newProgressStage(t *testing.T) *progressStage {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	mini := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: mini.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	g := &progressStage{mini: mini, cluster: cluster, cfg: Config{
		Outbox: "o", Redis: client, Kafka: []kgo.Opt{
			kgo.SeedBrokers(cluster.ListenAddrs()...),
			kgo.MetadataMinAge(10 * time.Millisecond),
		}, Logger: slog.New(slog.DiscardHandler),
	}}
	g.Progress = g.open(t).Progress()
	return g
}

// open begins to write as another run of an audit.
func (g *progressStage) open(t *testing.T) *Auditor {
	t.Helper()
	a, err := New(g.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if g.store, err = a.open(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.store.close)
	return a
}

func (g *progressStage) add(t *testing.T, id string) {
	t.Helper()
	if err := g.cfg.Redis.XAdd(t.Context(),
		&redis.XAddArgs{
			Stream: outbox.StreamKey("o", 0), ID: id,
			Values: []string{"id", id},
		}).Err(); err != nil {
		t.Fatal(err)
	}
}

// anchor is what audits remember of an entry.
func (g *progressStage) anchor(t *testing.T, id EntryID) (anchor string) {
	t.Helper()
	s := &redisStreams{primary: g.cfg.Redis, outbox: "o"}
	if err := s.read(t.Context(), 0, id.Prev(), id, func(raw rawEntry) error {
		anchor = anchorOf(raw)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return anchor
}

func (g *progressStage) save(t *testing.T, point shardPoint) {
	t.Helper()
	point.Begun = true
	now := &state{V: stateVersion, Outbox: "o", Run: 1, Shards: []shardPoint{point}}
	now.Carried = []Finding{{
		Kind:   Altered,
		Detail: strings.Repeat("long enough to be compressed", 50),
	}}
	if err := g.store.save(t.Context(), now, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// TestProgress: what may be taken away is what was compared and is not lost, of the stream that was
// audited. What is not known is nothing.
func TestProgress(t *testing.T) {
	t.Parallel()
	g := newProgressStage(t)
	f := &stateFollower{outbox: "o"}
	defer f.close()
	upTo := func(want EntryID) {
		t.Helper()
		if err := g.look(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if got, err := g.UpTo(0); err != nil || got != want {
			t.Errorf("%s %v, want %s", got, err, want)
		}
	}
	if got, err := g.UpTo(0); err != nil || !got.IsZero() {
		t.Errorf("before the first look: %s %v", got, err)
	}
	upTo(EntryID{}) // no audit yet, not even their topic
	for _, id := range []string{"5-0", "6-0", "7-0"} {
		g.add(t, id)
	}
	six := EntryID{MS: 6}
	g.save(t, shardPoint{Point: six, Anchor: g.anchor(t, six)})
	upTo(six)
	// Behind many reports and tiles, the first time as well as later.
	var tiles []Tile
	for i := range 500 {
		tiles = append(tiles, Tile{Shard: 0, To: EntryID{MS: uint64(i)}})
	}
	for run := range int64(20) { // in batches of their own, which are read into the same memory
		r := newReport("o", run)
		r.add(Finding{Kind: Lost, Detail: strings.Repeat("x", 1000)})
		if err := g.store.save(t.Context(), nil, tiles[:20], r); err != nil {
			t.Fatal(err)
		}
	}
	upTo(six)
	if all, err := g.Look(t.Context()); err != nil || len(all) != 1 || all[0].UpTo != six {
		t.Errorf("%v %v", all, err)
	}
	seven := EntryID{MS: 7}
	g.save(t, shardPoint{
		Point: seven, Anchor: g.anchor(t, seven),
		Lost: []EntryID{{MS: 6}, {MS: 5}},
	})
	upTo(EntryID{MS: 5}.Prev())
	g.save(t, shardPoint{Point: seven, Anchor: g.anchor(t, seven)})
	upTo(seven)
	if got, err := g.UpTo(1); err != nil || !got.IsZero() {
		t.Errorf("a shard that was not audited: %s %v", got, err)
	}
	// Redis goes back, and gives the same ID to another entry.
	g.mini.Del(outbox.StreamKey("o", 0))
	upTo(EntryID{})
	g.add(t, "6-0")
	upTo(EntryID{})
	if err := g.cfg.Redis.XAdd(t.Context(),
		&redis.XAddArgs{
			Stream: outbox.StreamKey("o", 0), ID: "7-0",
			Values: []string{"id", "another"},
		}).Err(); err != nil {
		t.Fatal(err)
	}
	upTo(EntryID{})
	if all, err := g.Look(t.Context()); err != nil ||
		!strings.Contains(all[0].Problem, "another one") {
		t.Errorf("%v %v", all, err)
	}
	g.save(t, shardPoint{Point: seven, Anchor: g.anchor(t, seven)})
	upTo(seven)
	// A topic that was deleted and made again knows nothing.
	if _, err := kadm.NewClient(g.store.logs.client).DeleteTopics(t.Context(),
		names.AuditsTopic("o")); err != nil {
		t.Fatal(err)
	}
	// the client believes in the topic for a moment
	for deadline := time.Now().Add(10 * time.Second); g.look(t.Context(), f) != nil; {
		if got, err := g.UpTo(0); err == nil || !got.IsZero() || time.Now().After(deadline) {
			t.Fatalf("meanwhile: %s %v", got, err)
		}
	}
	upTo(EntryID{})
	g.open(t)
	g.save(t, shardPoint{Point: six, Anchor: g.anchor(t, six)})
	upTo(six)
	// A state of another version is none that this program understands.
	if err := g.store.save(t.Context(), &state{V: 2}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := g.look(t.Context(), f); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("%v", err)
	}
	if _, err := g.UpTo(0); err == nil {
		t.Error("what cannot be read is known")
	}
}

// TestProgressWithoutServers: what was known before is not, as long as it cannot be asked.
func TestProgressWithoutServers(t *testing.T) {
	t.Parallel()
	g := newProgressStage(t)
	g.add(t, "5-0")
	g.save(t, shardPoint{Point: EntryID{MS: 5}})
	if _, err := g.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.asked = time.Now().Add(-progressAge - time.Second)
	if _, err := g.UpTo(0); err == nil || !strings.Contains(err.Error(), "the last answer is of") {
		t.Errorf("an old answer: %v", err)
	}
	g.mini.Close()
	if _, err := g.Look(t.Context()); err == nil || !strings.Contains(err.Error(), "redis: XINFO") {
		t.Errorf("without Redis: %v", err)
	}
	if got, err := g.UpTo(0); err == nil || !got.IsZero() {
		t.Errorf("without Redis: %s %v", got, err)
	}
}
