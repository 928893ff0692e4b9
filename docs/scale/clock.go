package main

import "time"

// clock runs events in the order of their times, and of their making where those are equal.
type clock struct {
	now   time.Duration
	made  uint64
	queue []event // a heap
}

type event struct {
	at time.Duration
	n  uint64
	do func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.n < o.n }

func (c *clock) after(d time.Duration, do func()) {
	c.made++
	q := append(c.queue, event{c.now + max(0, d), c.made, do})
	for i := len(q) - 1; i > 0 && q[i].before(&q[(i-1)/2]); i = (i - 1) / 2 {
		q[i], q[(i-1)/2] = q[(i-1)/2], q[i]
	}
	c.queue = q
}

// run runs what is due until then.
func (c *clock) run(until time.Duration) {
	for len(c.queue) > 0 && c.queue[0].at <= until {
		e := c.pop()
		c.now = e.at
		e.do()
	}
	c.now = until
}

func (c *clock) pop() event {
	q, last := c.queue, len(c.queue)-1
	first := q[0]
	q[0], q[last] = q[last], event{}
	q = q[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if q[child].before(&q[least]) {
				least = child
			}
		}
		if least == i {
			break
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
	c.queue = q
	return first
}
