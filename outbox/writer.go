package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/slot"
)

// Writer appends events to an outbox, inside the transactions that change the application's state.
// It is safe for concurrent use. It starts no goroutines and need not be closed; the client stays
// the caller's.
type Writer struct {
	client   redis.UniversalClient
	cluster  *redis.ClusterClient // the client, if it is one
	cfg      Config
	limits   limits
	sameSlot bool
	// times below are distances from it, so that a jump of the wall clock changes nothing
	born time.Time

	layout  atomic.Pointer[knownLayout]
	reading sync.Mutex // held while the layout is read

	commands slot.Table
}

// knownLayout is the layout as the writer knows it, and what it knows about each shard.
type knownLayout struct {
	layout Layout
	readAt time.Duration
	shards []*shard // len(shards) == layout.Shards
}

// shard is what the writer knows about a shard's stream. 0 <= provenAt, measuredAt <= now; 0 is
// never.
type shard struct {
	index      int
	stream     string
	provenAt   atomic.Int64 // when the key was last known to be a stream, or missing
	measuredAt atomic.Int64 // when its length was last known to be below Config.MaxLength
}

// NewWriter returns a writer for the outbox of cfg on a *redis.Client (a single server, or a
// primary found through Sentinel) or a *redis.ClusterClient. It does no I/O: a missing outbox or
// server shows at the first transaction. A *redis.Ring is refused: it spreads keys over servers
// that know nothing of each other.
func NewWriter(client redis.UniversalClient, cfg Config) (*Writer, error) {
	if client == nil {
		return nil, errors.New("outbox.NewWriter: the client is nil")
	}
	if _, ring := client.(*redis.Ring); ring {
		return nil, errors.New(
			"outbox.NewWriter: a redis.Ring cannot hold an outbox: use redis.Client or redis.ClusterClient")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cluster, _ := client.(*redis.ClusterClient)
	return &Writer{
		client:   client,
		cluster:  cluster,
		cfg:      cfg,
		limits:   cfg.limits(),
		sameSlot: cfg.RequireSameSlot || cluster != nil,
		commands: slot.Table{Client: client},
		born:     time.Now().Add(-time.Nanosecond), // so that now() > 0
	}, nil
}

// Layout is the layout of the outbox, read now or within the last Config.LayoutInterval. The error
// wraps ErrNoLayout if there is none, and is a *LayoutError if this writer cannot use it.
func (w *Writer) Layout(ctx context.Context) (Layout, error) {
	s, err := w.known(ctx)
	if err != nil {
		return Layout{}, err
	}
	return s.layout, nil
}

// Shard is the shard of a key in this outbox.
func (w *Writer) Shard(ctx context.Context, key string) (int, error) {
	s, err := w.known(ctx)
	if err != nil {
		return 0, err
	}
	return Shard(key, s.layout.Shards), nil
}

// StateKey is a key for state that is changed together with events of key; see the function
// StateKey.
func (w *Writer) StateKey(ctx context.Context, key, name string) (string, error) {
	n, err := w.Shard(ctx, key)
	if err != nil {
		return "", err
	}
	return StateKey(w.cfg.Outbox, n, name), nil
}

func (w *Writer) now() time.Duration { return time.Since(w.born) }

// known is the layout, read again if it is too old. While one call reads it, others go on with the
// old one.
func (w *Writer) known(ctx context.Context) (*knownLayout, error) {
	s := w.layout.Load()
	if s != nil && w.now()-s.readAt < w.cfg.LayoutInterval {
		return s, nil
	}
	if s != nil && w.cfg.LayoutInterval > 0 {
		if !w.reading.TryLock() {
			return s, nil
		}
	} else {
		w.reading.Lock()
	}
	defer w.reading.Unlock()
	if s = w.layout.Load(); s != nil && w.now()-s.readAt < w.cfg.LayoutInterval {
		return s, nil
	}

	layout, err := ReadLayout(ctx, w.client, w.cfg.Outbox)
	if err != nil {
		return nil, err
	}
	if err := layout.writable(w.cfg.Outbox); err != nil {
		return nil, err
	}
	fresh := &knownLayout{layout: layout, readAt: w.now()}
	if s != nil && s.layout.Shards == layout.Shards {
		fresh.shards = s.shards
	} else {
		fresh.shards = make([]*shard, layout.Shards)
		for i := range fresh.shards {
			fresh.shards[i] = &shard{index: i, stream: StreamKey(w.cfg.Outbox, i)}
		}
	}
	w.layout.Store(fresh)
	return fresh, nil
}

// forget makes the next transaction look at the layout and the shard's stream again, after a
// failure which says that they are not what the writer believed.
func (w *Writer) forget(sh *shard) {
	sh.provenAt.Store(0)
	w.layout.Store(nil)
}

// proven notes that an append to the shard succeeded, which proves that its key was a stream.
func (w *Writer) proven(sh *shard) { sh.provenAt.Store(int64(w.now())) }

func (w *Writer) due(at *atomic.Int64) bool {
	last := at.Load()
	return last == 0 || w.now()-time.Duration(last) >= w.cfg.TypeCheckInterval
}

// inspect asks whether the shard's stream can take an append. If marker is not empty it also asks
// for the marker of an idempotency key. It takes one round trip on c, and none if all of it was
// seen within Config.TypeCheckInterval.
func (w *Writer) inspect(ctx context.Context, c redis.Cmdable, sh *shard,
	marker string,
) (found bool, value string, err error) {
	askType := w.due(&sh.provenAt)
	askLength := w.cfg.MaxLength > 0 && w.due(&sh.measuredAt)
	if !askType && !askLength && marker == "" {
		return false, "", nil
	}
	var get *redis.StringCmd
	var kind *redis.StatusCmd
	var length *redis.IntCmd
	_, execErr := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		if marker != "" {
			get = p.Get(ctx, marker)
		}
		if askType {
			kind = p.Type(ctx, sh.stream)
		}
		if askLength {
			length = p.XLen(ctx, sh.stream)
		}
		return nil
	})
	if execErr != nil && !isReply(execErr) {
		return false, "", refusal(execErr)
	}

	if get != nil {
		switch err := get.Err(); {
		case err == nil:
			return true, get.Val(), nil
		case !errors.Is(err, redis.Nil):
			return false, "", fmt.Errorf("idempotency marker %s: %w", marker, refusal(err))
		}
	}
	if kind != nil {
		switch k, err := kind.Result(); {
		case err != nil:
			return false, "", fmt.Errorf("type of %s: %w", sh.stream, refusal(err))
		case k != "stream" && k != "none":
			w.forget(sh)
			return false, "", &ServerError{Kind: ErrWrongType, Reply: fmt.Errorf("%s is a %s", sh.stream, k)}
		}
		sh.provenAt.Store(int64(w.now()))
	}
	if length != nil {
		switch n, err := length.Result(); {
		case err != nil:
			return false, "", fmt.Errorf("length of %s: %w", sh.stream, refusal(err))
		case n >= w.cfg.MaxLength:
			return false, "",
				fmt.Errorf("%w: %s has %d entries, at most %d; retry with back-off, and see why it is not "+
					"trimmed",
					ErrOutboxFull, sh.stream, n, w.cfg.MaxLength)
		}
		sh.measuredAt.Store(int64(w.now()))
	}
	return false, "", nil
}
