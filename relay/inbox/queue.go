package inbox

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// source is what a consumer has fetched of one partition and nobody has taken. Its end is an error.
type source struct {
	topic     string
	partition int32
	id        TopicID       // of the topic that is meant
	ready     chan struct{} // has a token after each change

	mu      sync.Mutex
	records []*kgo.Record
	bytes   int
	err     error
	full    bool // fetching is paused
}

func newSource(topic string, partition int32, id TopicID) *source {
	return &source{topic: topic, partition: partition, id: id, ready: make(chan struct{}, 1)}
}

// push adds records and reports whether no more should be fetched.
func (s *source) push(records []*kgo.Record, limit int) (full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return true
	}
	s.records = append(s.records, records...)
	for _, r := range records {
		s.bytes += weight(r)
	}
	s.full = s.full || s.bytes > limit
	s.wake()
	return s.full
}

// fail ends the source. What it holds is dropped: the error may be about it.
func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err, s.records, s.bytes = err, nil, 0
	}
	s.wake()
}

func (s *source) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// take gives what waits, at most that many records and bytes, but one at least. resume: the rest is
// few enough to fetch on.
func (s *source) take(records, bytes, limit int) (taken []*kgo.Record, resume bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, false, s.err
	}
	n, sum := 0, 0
	for n < len(s.records) && n < records {
		w := weight(s.records[n])
		if n > 0 && sum+w > bytes {
			break
		}
		n, sum = n+1, sum+w
	}
	taken = s.records[:n:n]
	if s.records = s.records[n:]; len(s.records) == 0 {
		s.records = nil
	}
	s.bytes -= sum
	if s.full && s.bytes <= limit/2 {
		s.full, resume = false, true
	}
	return taken, resume, nil
}
