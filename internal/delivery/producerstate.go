package delivery

import (
	"context"
	"slices"
	"sync"
)

// producerStates asks brokers for open transactions, for many shards at once: who asks while a
// question is under way shares the next one, which begins after it has asked.
type producerStates struct {
	engine *Engine

	mu      sync.Mutex
	running bool
	next    *question
}

// question is asked once for all that wait for it.
type question struct {
	topics  []string
	open    []openTransaction
	unknown map[place]error
	err     error
	done    chan struct{}
}

// ask returns the transactions that stand open in topics, and the partitions of which nobody could
// say.
func (s *producerStates) ask(ctx context.Context,
	topics []string,
) ([]openTransaction, map[place]error, error) {
	s.mu.Lock()
	if s.next == nil {
		s.next = &question{done: make(chan struct{})}
	}
	q := s.next
	q.topics = append(q.topics, topics...)
	if !s.running {
		s.running = true
		go s.run()
	}
	s.mu.Unlock()
	select {
	case <-q.done:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if q.err != nil {
		return nil, nil, q.err
	}
	open := slices.DeleteFunc(slices.Clone(q.open), func(x openTransaction) bool {
		return !slices.Contains(topics, x.topic)
	})
	return open, q.unknown, nil
}

func (s *producerStates) run() {
	for {
		s.mu.Lock()
		q := s.next
		s.next = nil
		if q == nil {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		slices.Sort(q.topics)
		q.topics = slices.Compact(q.topics)
		ctx, cancel := context.WithTimeout(s.engine.hard, 2*describeTimeout)
		q.open, q.unknown, q.err = s.engine.openIn(ctx, q.topics...)
		cancel()
		close(q.done)
	}
}
