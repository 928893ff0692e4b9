package consistency

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
)

// Audited is how far a shard was audited.
type Audited struct {
	Shard int `json:"shard"`
	// Since and UpTo: everything in (Since, UpTo] has been compared.
	Since EntryID `json:"since"`
	UpTo  EntryID `json:"up_to"`
	// Lost entries were reported, and have not come since. First is the first of them, 0-0 if there
	// is none.
	Lost  int     `json:"lost"`
	First EntryID `json:"first_lost,omitzero"`
	// Problem says why what was audited does not count any more; empty if it does.
	Problem string `json:"problem,omitempty"`
}

// Disposable is the last entry that may be taken away: everything up to it was compared, and
// nothing of it is lost. What is lost is in Redis alone, and can be sent again from there. 0-0:
// none may.
func (a Audited) Disposable() EntryID {
	switch {
	case a.Problem != "":
		return EntryID{}
	case a.Lost > 0 && !a.UpTo.Less(a.First):
		return a.First.Prev()
	}
	return a.UpTo
}

// Progress follows how far the audits of an outbox have come, whoever runs them, for who must not
// take away what has not been compared: a relay's Trim.Limit for example. It reads what auditors
// keep in Kafka, and looks at each stream whether it is still the one that was audited. Its methods
// may be called at the same time.
type Progress struct {
	cfg   Config
	pause time.Duration

	mu    sync.Mutex
	known []Audited // by shard
	asked time.Time // when known was found out; zero: never
	err   error     // why it could not be, the last time
}

// progressPause is how often Progress looks, and progressAge how long it trusts what it saw.
const (
	progressPause = 5 * time.Second
	progressAge   = time.Minute
)

// Progress follows the audits of the auditor's outbox, this auditor's and others'. It uses the
// auditor's clients, and may be used while the auditor runs. It connects to nothing by itself.
func (a *Auditor) Progress() *Progress { return &Progress{cfg: a.cfg, pause: progressPause} }

// Run follows until ctx ends. Failures are logged, and told by UpTo.
func (p *Progress) Run(ctx context.Context) {
	follower := &stateFollower{outbox: p.cfg.Outbox}
	defer follower.close()
	failing := false
	for {
		err := p.look(ctx, follower)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			p.cfg.Logger.Warn("what was audited cannot be found out, trying again", "outbox", p.cfg.Outbox,
				"error", err)
		}
		failing = err != nil
		if sleep(ctx, p.pause) != nil {
			return
		}
	}
}

// Look finds out once.
func (p *Progress) Look(ctx context.Context) ([]Audited, error) {
	follower := &stateFollower{outbox: p.cfg.Outbox}
	defer follower.close()
	if err := p.look(ctx, follower); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known, nil
}

// UpTo is the last entry of a shard that may be taken away; see Audited.Disposable. 0-0: none,
// because none was audited, or because that is not known yet. An error says why it cannot be known.
// It answers from memory.
func (p *Progress) UpTo(shard int) (EntryID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err != nil:
		return EntryID{}, fmt.Errorf("what was audited is not known: %w", p.err)
	case !p.asked.IsZero() && time.Since(p.asked) > progressAge:
		return EntryID{}, fmt.Errorf("what was audited is not known: the last answer is of %s",
			p.asked.Format(time.RFC3339))
	case shard < 0 || shard >= len(p.known):
		return EntryID{}, nil
	}
	return p.known[shard].Disposable(), nil
}

func (p *Progress) look(ctx context.Context, follower *stateFollower) (err error) {
	var known []Audited
	func() {
		defer caught(&err)
		known, err = p.find(ctx, follower)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err = err; err == nil {
		p.known, p.asked = known, time.Now()
	}
	return err
}

func (p *Progress) find(ctx context.Context, follower *stateFollower) ([]Audited, error) {
	remembered, err := follower.state(ctx, p.cfg.Kafka)
	if err != nil {
		return nil, err
	}
	streams := &redisStreams{primary: p.cfg.Redis, outbox: p.cfg.Outbox}
	known := make([]Audited, len(remembered.Shards))
	for shard := range remembered.Shards {
		point := remembered.Shards[shard]
		a := Audited{Shard: shard, Since: point.Since, UpTo: point.Point, Lost: len(point.Lost)}
		for _, id := range point.Lost {
			if a.First.IsZero() || id.Less(a.First) {
				a.First = id
			}
		}
		sample, err := streams.state(ctx, shard)
		if err != nil {
			return nil, err
		}
		if !sample.exists {
			a.Problem = "its stream does not exist"
		} else if a.Problem, err = whyBack(ctx, streams, shard, point, sample); err != nil {
			return nil, err
		}
		known[shard] = a
	}
	return known, nil
}

// stateFollower reads the audits' state, and afterwards only what has been written since.
type stateFollower struct {
	outbox string
	logs   *kafkaLogs // made at the first look

	topic string // its ID: a topic that was made again begins anew
	next  int64
	last  []byte
}

func (f *stateFollower) close() {
	if f.logs != nil {
		f.logs.client.Close()
	}
}

// state is the last one that was saved, empty if there is none.
func (f *stateFollower) state(ctx context.Context, opts []kgo.Opt) (*state, error) {
	remembered := &state{}
	if f.logs == nil {
		client, err := newReader(opts)
		if err != nil {
			return nil, err
		}
		f.logs = newKafkaLogs(client, f.outbox, nil)
	}
	name := names.AuditsTopic(f.outbox)
	described, err := f.logs.topics(ctx, []string{name}, nil)
	switch {
	case err != nil:
		return nil, err
	case len(described) == 1 && strings.Contains(described[0].problem, "not exist"):
		f.topic = ""
		return remembered, nil
	case len(described) != 1 || described[0].problem != "" || described[0].partitions < 1:
		return nil, fmt.Errorf("kafka: topic %s cannot be read: %s", name, described[0].problem)
	}
	all, err := f.logs.bounds(ctx, []string{name})
	if err != nil {
		return nil, err
	}
	b := all[name][0]
	if f.topic != described[0].id || f.next > b.end {
		f.topic, f.next, f.last = described[0].id, -1, nil
	}
	if err := f.read(ctx, name, b); err != nil {
		return nil, fmt.Errorf("topic %s: %w", name, err)
	}
	if len(f.last) == 0 {
		return remembered, nil
	}
	if err := json.Unmarshal(f.last, remembered); err != nil {
		return nil, fmt.Errorf("topic %s: the audit state cannot be read: %w: audit with --full", name,
			err)
	}
	if remembered.V != stateVersion {
		return nil, errStateVersion(remembered.V)
	}
	return remembered, nil
}

// read takes what is new; the first time it looks back from the end, since the last state is all it
// wants.
func (f *stateFollower) read(ctx context.Context, name string, b bounds) error {
	key := (&store{outbox: f.outbox}).key("state")
	take := func(r *kgo.Record) error {
		if string(r.Key) == key {
			f.last = bytes.Clone(r.Value)
		}
		return nil
	}
	if f.next >= 0 {
		if err := f.logs.read(ctx, name, 0, max(f.next, b.start), b.end, take); err != nil {
			return err
		}
		f.next = b.end
		return nil
	}
	for back := int64(100); ; back *= 20 {
		from := max(b.start, b.end-back)
		if err := f.logs.read(ctx, name, 0, from, b.end, take); err != nil {
			return err
		}
		if f.last != nil || from == b.start {
			f.next = b.end
			return nil
		}
	}
}

// newReader makes a client that only reads.
func newReader(opts []kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(append([]kgo.Opt(nil), opts...),
		kgo.RetryTimeout(15*time.Second))...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return client, nil
}
