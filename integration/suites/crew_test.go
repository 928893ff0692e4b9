//go:build integration

package suites_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration/testenv"
)

// crew is a number of relay processes that share the shards of an environment, and die and are
// replaced in turn. One more than there are shards is a good size: there is always one that has to
// wait.
type crew struct {
	t        *testing.T
	w        *testenv.Env
	random   *rand.Rand
	settings testenv.Settings
	working  []*testenv.Process // neither stopped nor ended
	all      []*testenv.Process
	pause    time.Duration // of a stopped one: longer than the session
	patience time.Duration // how long one may take to start, and to end

	stopped sync.WaitGroup
	mu      sync.Mutex
	back    []*testenv.Process // continued after a stop, to be working again
	kills   int
	stops   int
	changes int
}

// session is the session timeout of the crew: the least that brokers accept by default.
const session = 6 * time.Second

func newCrew(t *testing.T, w *testenv.Env, size int, random *rand.Rand, s testenv.Settings) *crew {
	t.Helper()
	c := &crew{
		t: t, w: w, random: random, settings: s, pause: session + time.Second,
		patience: 30 * time.Second,
	}
	for range size {
		c.hire()
	}
	return c
}

func (c *crew) hire() {
	p := c.w.Spawn(c.settings)
	c.working = append(c.working, p)
	c.all = append(c.all, p)
}

// fault makes one of the working relays die, stand still or leave in good order, and another one
// come for it.
func (c *crew) fault() {
	c.t.Helper()
	switch c.random.IntN(3) {
	case 0:
		c.kill()
	case 1:
		c.freeze()
	case 2:
		c.replace()
	}
}

// kill makes a relay die.
func (c *crew) kill() {
	c.t.Helper()
	c.kills++
	if err := c.take().Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.hire()
}

// freeze makes a relay stand still for longer than its session lasts.
func (c *crew) freeze() {
	c.t.Helper()
	c.stops++
	c.stop(c.take())
	// Not too many at once: those that are left have to carry the load, and the stopped ones come
	// back.
	if len(c.working) < 2 {
		c.hire()
	}
}

// replace makes a relay leave in good order.
func (c *crew) replace() {
	c.t.Helper()
	c.changes++
	c.dismiss(c.take())
	c.hire()
}

// take removes one of the working relays from them.
func (c *crew) take() *testenv.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.working, c.back = append(c.working, c.back...), nil
	n := c.random.IntN(len(c.working))
	p := c.working[n]
	c.working = append(c.working[:n:n], c.working[n+1:]...)
	return p
}

// stop freezes a relay for longer than its session lasts, and lets it go on as if nothing had
// happened.
func (c *crew) stop(p *testenv.Process) {
	c.t.Helper()
	if err := p.Stop(); err != nil {
		c.t.Fatal(err)
	}
	pause := c.pause + time.Duration(c.random.Int64N(int64(2*time.Second)))
	c.stopped.Go(func() {
		time.Sleep(pause) // the length of the fault; nothing waits for it in order to go on
		if err := p.Cont(); err != nil {
			c.t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.back = append(c.back, p)
	})
}

// dismiss ends a relay as an operator would, and wants it to end well.
func (c *crew) dismiss(p *testenv.Process) {
	c.t.Helper()
	// Before that it may not have begun to listen to signals.
	if err := p.WaitFor(deadline(c.t, c.patience), "relay started"); err != nil {
		c.t.Fatal(err)
	}
	if err := p.Terminate(deadline(c.t, c.patience)); err != nil {
		c.t.Fatal(err)
	}
	if err := p.Wait(deadline(c.t, time.Second)); err != nil {
		c.t.Errorf("after SIGTERM: %v", err)
	}
}

// rest lets all stopped relays go on.
func (c *crew) rest() {
	c.t.Helper()
	c.stopped.Wait()
	c.mu.Lock()
	c.working, c.back = append(c.working, c.back...), nil
	c.mu.Unlock()
}

// leave ends all relays in good order. It logs what the crew went through.
func (c *crew) leave() {
	c.t.Helper()
	c.rest()
	for _, p := range c.working {
		c.dismiss(p)
	}
	fenced := 0
	for _, p := range c.all {
		fenced += strings.Count(strings.ToLower(p.Output()), "fence")
	}
	c.t.Logf("relays: %d processes, %d killed, %d stopped past their session and continued, %d "+
		"replaced; %d times one said that it was fenced",
		len(c.all), c.kills, c.stops, c.changes, fenced)
	if c.t.Failed() {
		for _, p := range c.all {
			if err := os.WriteFile(os.TempDir()+"/"+c.t.Name()+"-"+p.Instance+".log", []byte(p.Output()),
				0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
				c.t.Log(err)
			}
		}
	}
}
