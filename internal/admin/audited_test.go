package admin

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// What retention and position would let go, and audits do not, has waited since the first of it
// could have gone.
func TestHeld(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	now := time.UnixMilli(1_700_000_000_000)
	id := func(ago time.Duration) outbox.EntryID {
		return outbox.EntryID{MS: uint64(now.Add(-ago).UnixMilli())}
	}
	for _, ago := range []time.Duration{5 * time.Hour, 3 * time.Hour, 2 * time.Hour, 0} {
		if _, err := server.XAdd("stream", id(ago).String(), []string{"a", "b"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, x := range map[string]struct {
		key      string
		position outbox.EntryID
		audited  outbox.EntryID
		keep     time.Duration
		want     float64 // seconds; negative: nothing is held back
	}{
		"nothing audited":       {"stream", id(0), outbox.EntryID{}, time.Hour, 4 * 3600},
		"some audited":          {"stream", id(0), id(5 * time.Hour), time.Hour, 2 * 3600},
		"all audited":           {"stream", id(0), id(0), time.Hour, -1},
		"all that is due":       {"stream", id(0), id(2 * time.Hour), time.Hour, -1},
		"delivery is behind":    {"stream", id(2 * time.Hour), id(5 * time.Hour), time.Hour, 2 * 3600},
		"kept anyway":           {"stream", id(0), outbox.EntryID{}, 6 * time.Hour, -1},
		"trimming does not ask": {"stream", id(0), outbox.EntryID{}, -1, -1},
		"an empty stream":       {"other", id(0), outbox.EntryID{}, time.Hour, -1},
	} {
		a := &Audits{Keep: x.keep}
		got, err := a.held(t.Context(), client, x.key, x.position.String(), x.audited, now)
		if err != nil || got == nil && x.want >= 0 || got != nil && *got != x.want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, x.want)
		}
	}
	if got, err := (&Audits{}).held(t.Context(), client, "stream", "", outbox.EntryID{},
		now); err != nil || got != nil {
		t.Errorf("nothing delivered: %v, %v", got, err)
	}
}
