package delivery

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// part is what a transaction holds of one seat.
type part struct {
	seat           *Seat
	batches        []*Batch
	records        int
	entries, bytes int
	places         map[place]int // where the records go, and how many
	position       json.RawMessage
	wrote          Places

	mu           sync.Mutex
	open         map[place]int // records without an answer
	acknowledged int           // bytes
	fault        error         // why a record failed
}

// add produces a batch's records.
func (p *part) add(produce produceFunc, b *Batch) {
	p.batches = append(p.batches, b)
	p.entries += b.Entries
	p.bytes += b.Bytes
	p.records += len(b.Records)
	p.mu.Lock()
	for _, r := range b.Records {
		at := place{r.Topic, r.Partition}
		p.places[at]++
		p.open[at]++
	}
	p.mu.Unlock()
	for _, r := range b.Records {
		produce(r, p.promise)
	}
}

func (p *part) last() *Batch { return p.batches[len(p.batches)-1] }

// seal makes the position record that follows the records.
func (p *part) seal(lane string) (*kgo.Record, error) {
	position, err := p.last().Position()
	if err != nil {
		return nil, err
	}
	p.position, p.wrote = position, places(p.places)
	value, err := json.Marshal(Position{
		V: RecordVersion, Lane: lane, Records: p.records, Wrote: p.wrote, Before: p.seat.before,
		Position: position,
	})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.open[place{p.seat.keys.topic, int32(p.seat.keys.shard)}]++
	p.mu.Unlock()
	return p.seat.keys.position(value), nil
}

// promise notes what became of a record.
func (p *part) promise(r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := place{r.Topic, r.Partition}
	if err == nil {
		p.acknowledged += len(r.Key) + len(r.Value)
		if p.open[at]--; p.open[at] == 0 {
			delete(p.open, at)
		}
		return
	}
	own := r.Topic == p.seat.keys.topic
	if failed := p.seat.lane.engine.cfg.Failed; failed != nil && isOwn(err) && !own {
		failed(r.Topic)
	}
	// A refusal counts more than another failure, and the first more than a later one.
	switch _, refused := p.fault.(*refusedError); { //nolint:errorlint // set here, never wrapped
	case IsRefusal(err) && !own && !refused:
		p.fault = &refusedError{&recordError{at, err}}
	case p.fault == nil:
		p.fault = &recordError{at, err}
	}
}

// outcome says why the part cannot be committed; nil: it can, or answers are missing.
func (p *part) outcome() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

// stalled is the error of a part that has no answer; nil: every record has one.
func (p *part) stalled(since time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at := range p.open {
		return &stallError{at: at, since: since}
	}
	return nil
}

func (p *part) bytesAcknowledged() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acknowledged
}
