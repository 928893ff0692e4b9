package delivery

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Many shards that ask at once share a question, and nobody gets an answer that is older than his.
func TestQuestionForProducersIsShared(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		l.topic("others", 1)
		e, end := l.engine()
		defer end()
		asked := l.seen(kmsg.DescribeProducers, func(kmsg.Request) string { return "asked" })
		done := make(chan error, 50)
		for i := range 50 {
			go func() {
				_, _, err := e.producerStates.ask(t.Context(), []string{[]string{"events", "others"}[i%2]})
				done <- err
			}()
		}
		for range 50 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := len(asked()); n > 10 {
			t.Errorf("asked %d times for 50 shards", n)
		}
		before := len(asked())
		if _, _, err := e.producerStates.ask(t.Context(), []string{"events"}); err != nil ||
			len(asked()) != before+1 {
			t.Errorf("asked %d times, %v", len(asked())-before, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := e.producerStates.ask(ctx, []string{"events"}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
