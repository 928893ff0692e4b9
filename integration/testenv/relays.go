package testenv

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-outbox/sluice/relay"
)

// Config is the configuration of a relay in this process: everything goes to the environment's
// topic, and housekeeping is quicker than by default, so that a test need not wait for it.
func (w *Env) Config() relay.Config {
	return relay.Config{
		Outbox: w.Outbox, Redis: w.Redis, Kafka: w.KafkaOpts(), Route: w.Topic(),
		HousekeepingInterval: 200 * time.Millisecond,
	}
}

// Running is a relay in this process.
type Running struct {
	*relay.Relay
	log  *journal
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// Run starts a relay, which is stopped when the test ends at the latest. Its log is shown if the
// test fails.
func (w *Env) Run(cfg relay.Config) *Running {
	w.t.Helper()
	r := &Running{log: newJournal(), done: make(chan struct{})}
	cfg.Logger = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if r.Relay, err = relay.New(cfg); err != nil {
		w.t.Fatalf("relay: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		defer close(r.done)
		r.err = r.Relay.Run(ctx)
	}()
	w.t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			w.t.Errorf("relay: %v", err)
		}
		if w.t.Failed() {
			w.t.Logf("log of relay %s:\n%s", cfg.Instance, r.log)
		}
	})
	return r
}

// Stop ends the relay as SIGTERM would, waits for it, and returns what Run returned. It may be
// called more than once.
func (r *Running) Stop() error {
	r.stop()
	<-r.done
	return r.err
}

// Log is what the relay has logged, the last megabyte of it.
func (r *Running) Log() string { return r.log.String() }

// AwaitLog waits until the relay has logged a text.
func (w *Env) AwaitLog(r *Running, limit time.Duration, text string) {
	w.t.Helper()
	w.Await(limit, func(context.Context) error {
		if !bytes.Contains([]byte(r.Log()), []byte(text)) {
			return errors.New("the relay has not logged " + text)
		}
		return nil
	})
}

// journal keeps the end of a log.
type journal struct {
	mu  sync.Mutex
	buf []byte
}

func newJournal() *journal { return &journal{} }

const journalSize = 1 << 20

// Write never fails.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buf = append(j.buf, p...)
	if len(j.buf) > 2*journalSize {
		j.buf = append(j.buf[:0], j.buf[len(j.buf)-journalSize:]...)
	}
	return len(p), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.buf[max(0, len(j.buf)-journalSize):])
}
