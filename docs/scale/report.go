package main

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"
)

const (
	warmUp = time.Second
	window = 3 * time.Second
)

// backlog is how long the outbox takes to get as many entries as wait in it.
func (m *model) backlog() float64 {
	waiting := 0
	for _, s := range m.shards {
		waiting += len(s.entries) - s.done
	}
	return float64(waiting) / m.Rate / float64(m.Shards)
}

// runSteady runs a deployment without losses, and counts once it has settled. It returns what
// waited then, too.
func runSteady(cfg config) (m *model, backlog float64) {
	m = newModel(cfg)
	m.run(warmUp)
	m.figures, backlog = figures{from: m.now}, m.backlog()
	for _, b := range m.brokers {
		b.busy = 0
	}
	m.run(warmUp + window)
	return m, backlog
}

const steadyHead = "| | transactions/s | partitions each | markers/s | broker CPU, mean / most " +
	"| p50 / p99, ms | ids | connections, at most |\n|---|---|---|---|---|---|---|---|"

func printSteady(w io.Writer, name string, cfg config) {
	m, backlog := runSteady(cfg)
	var mean, most float64
	for _, b := range m.brokers {
		used := 100 * b.busy.Seconds() / window.Seconds() / float64(m.Cores)
		mean, most = mean+used/float64(m.Brokers), max(most, used)
	}
	latency := fmt.Sprintf("%.1f / %.1f", ms(quantile(m.latencies, 0.5)),
		ms(quantile(m.latencies, 0.99)))
	if grown := m.backlog() - backlog; grown > 0.2*window.Seconds() {
		latency = fmt.Sprintf("falls behind, by %.1f s in %v", grown, window)
	}
	fmt.Fprintf(w, "| %s | %.0f | %.1f | %.0f | %.1f%% / %.1f%% | %s | %d | %d |\n",
		name, float64(m.txns)/window.Seconds(), float64(m.joined)/float64(m.txns),
		float64(m.markers)/window.Seconds(),
		mean, most, latency, len(m.ids), (len(m.ids)+2*m.Relays)*m.Brokers)
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// quantile sorts. Without values there is none: 0.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(q*float64(len(all)-1))]
}

// lost is what a loss does.
type lost struct {
	still             float64 // share of the shards
	half, most, all   time.Duration
	committed, hidden time.Duration // most age of an entry
	held              float64       // share of the topic's partitions
	settled           bool
}

// runLoss ends with nothing in the outbox that is not visible, if all shards deliver again within a
// minute.
func runLoss(cfg config, x loss) (lost, *model) {
	m := newModel(cfg)
	m.run(warmUp)
	began := m.now
	m.figures = figures{from: m.now}
	m.lose(x)
	for m.now < began+2*time.Second || !m.settled() && m.now < began+time.Minute {
		m.run(m.now + 100*time.Millisecond)
	}
	y := lost{settled: m.settled()}
	m.ended = true
	m.run(m.now + 30*time.Second) // the last markers, and time-outs
	var again []time.Duration
	for _, s := range m.shards {
		if s.still {
			again = append(again, s.again-began)
		}
	}
	y.still, y.held = float64(len(again))/float64(m.Shards), float64(len(m.held))/float64(m.Shards)
	y.half, y.most, y.all = quantile(again, 0.5), quantile(again, 0.99), quantile(again, 1)
	y.committed, y.hidden = m.oldest, m.hidden
	return y, m
}

// worst has the worst of each figure.
func (y lost) worst(z lost) lost {
	return lost{
		max(y.still, z.still), max(y.half, z.half), max(y.most, z.most), max(y.all, z.all),
		max(y.committed, z.committed), max(y.hidden, z.hidden), max(y.held, z.held),
		y.settled && z.settled,
	}
}

const lossHead = "| lost | shards still | 50% / 99% / all of them deliver again after, s | " +
	"oldest when committed, s | oldest when visible, s | partitions held up " +
	"|\n|---|---|---|---|---|---|"

func printLoss(w io.Writer, cfg config, x loss) {
	y := lost{settled: true}
	for range cfg.Runs {
		z, _ := runLoss(cfg, x)
		y = y.worst(z)
		cfg.Seed++
	}
	again := fmt.Sprintf("%.1f / %.1f / %.1f", y.half.Seconds(), y.most.Seconds(), y.all.Seconds())
	if !y.settled {
		again = "not within a minute"
	} else if y.still == 0 {
		again = "none was still"
	}
	fmt.Fprintf(w, "| %s | %.1f%% | %s | %.1f | %.1f | %.1f%% |\n",
		x.name, 100*y.still, again, y.committed.Seconds(), y.hidden.Seconds(), 100*y.held)
}

func printInputs(w io.Writer, cfg config) {
	fmt.Fprintln(w, "| flag | value | from | what |\n|---|---|---|---|")
	v := reflect.ValueOf(cfg)
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		fmt.Fprintf(w, "| `-%s` | %v | %s | %s |\n", tag.Get("flag"), v.Field(i).Interface(),
			tag.Get("from"), tag.Get("doc"))
	}
}
