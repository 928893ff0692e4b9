package auditing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/metrics"
)

// script is an auditor whose audits go as a test says, by their number from 1.
type script struct {
	run     func(ctx context.Context, n int) (*consistency.Report, error)
	history func() ([]*consistency.Report, error)
	began   []time.Duration // since the service was started
	recalls int
	start   time.Time
}

func (s *script) Run(ctx context.Context) (*consistency.Report, error) {
	s.began = append(s.began, time.Since(s.start))
	if s.run == nil {
		return &consistency.Report{Verdict: consistency.Agree}, nil
	}
	return s.run(ctx, len(s.began))
}

func (s *script) History(context.Context) ([]*consistency.Report, error) {
	s.recalls++
	if s.history == nil {
		return nil, nil
	}
	return s.history()
}

// during runs a service for a while, in a bubble where waiting costs nothing, and gives what it has
// logged.
func during(t *testing.T, d time.Duration, s *Service, script *script) string {
	t.Helper()
	var log bytes.Buffer
	script.start = time.Now()
	s.Auditor, s.Logger = script, slog.New(slog.NewTextHandler(&log, nil))
	if s.Schedule == nil {
		var err error
		if s.Schedule, err = ParseSchedule("TZ=UTC */15 * * * *"); err != nil {
			t.Fatal(err)
		}
	}
	if s.Metrics == nil {
		s.Metrics = metrics.NewAudits("orders", metrics.Build{})
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	s.Run(ctx)
	return log.String()
}

// scrape gives the metrics as /metrics would.
func scrape(t *testing.T, m *metrics.Audits) string {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(m.Gatherer(), promhttp.HandlerOpts{}).ServeHTTP(answer,
		httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

func TestRunKeepsToTheSchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, script := &Service{}, &script{}
		reports := 0
		s.Done = func(*consistency.Report) { reports++ }
		log := during(t, 50*time.Minute, s, script)
		// A bubble begins at midnight.
		if want := []time.Duration{
			15 * time.Minute, 30 * time.Minute,
			45 * time.Minute,
		}; !slices.Equal(script.began, want) || reports != 3 {
			t.Errorf("audits at %v, %d reports\n%s", script.began, reports, log)
		}
		if strings.Contains(log, "ERROR") || strings.Contains(log, "WARN") ||
			!strings.Contains(log, "next=2000-01-01T00:15:00Z") || script.recalls != 1 {
			t.Errorf("%d recalls, log:\n%s", script.recalls, log)
		}
	})
}

// An audit that takes longer than to its next times makes these pass, which is said; two never run
// at once.
func TestRunSkipsWhatPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, script := &Service{},
			&script{run: func(_ context.Context, n int) (*consistency.Report, error) {
				if n == 1 {
					time.Sleep(40 * time.Minute) // of the bubble
				}
				return &consistency.Report{Verdict: consistency.Agree}, nil
			}}
		log := during(t, 80*time.Minute, s, script)
		if want := []time.Duration{
			15 * time.Minute, 60 * time.Minute,
			75 * time.Minute,
		}; !slices.Equal(script.began, want) ||
			!strings.Contains(log, "skipped\" times=2") {
			t.Errorf("audits at %v\n%s", script.began, log)
		}
	})
}

// Whatever an audit does, the next one comes; and what needs somebody is logged.
func TestRunOutlivesItsAudits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var problems []bool
		s := &Service{}
		s.Done = func(*consistency.Report) { panic("nobody to tell") }
		script := &script{run: func(_ context.Context, n int) (*consistency.Report, error) {
			problems = append(problems, s.Ready() != nil)
			switch n {
			case 1:
				panic("a mistake")
			case 2:
				return nil, errors.New("no layout")
			case 3:
				return &consistency.Report{
					Run: 7, Verdict: consistency.Drift,
					Counts: map[consistency.Kind]int64{consistency.Lost: 3},
				}, nil
			}
			return &consistency.Report{
				Run: 8, Verdict: consistency.Incomplete,
				Incomplete: []string{"one", "two", "three", "four"},
			}, nil
		}}
		log := during(t, 65*time.Minute, s, script)
		if len(script.began) != 4 || !slices.Equal(problems, []bool{false, true, true, false}) {
			t.Errorf("audits at %v, unready before them: %v\n%s", script.began, problems, log)
		}
		for _, want := range []string{
			"panic: a mistake", "no layout",
			"do not agree\" lost=3 evidence=\"sluice audit show 7\"",
			"reasons=\"[one two three]\" all=\"sluice audit show 8\"", "nobody to tell",
		} {
			if !strings.Contains(log, want) {
				t.Errorf("not logged: %s\n%s", want, log)
			}
		}
		text := scrape(t, s.Metrics)
		for verdict, n := range map[string]float64{"failed": 2, "drift": 1, "incomplete": 1, "agree": 0} {
			wanted := fmt.Sprintf("sluice_audit_runs_total{outbox=\"orders\",verdict=%q} %v\n", verdict, n)
			if !strings.Contains(text, wanted) {
				t.Errorf("no %s in\n%s", wanted, text)
			}
		}
	})
}

// Of many relays the one whose turn it is audits. It knows what others have found before, as soon
// as that can be read.
func TestRunInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		script := &script{}
		since := func() time.Duration { return time.Since(script.start) }
		s := &Service{Turn: func() bool {
			return since() > 20*time.Minute && since() < 50*time.Minute || since() > 70*time.Minute
		}}
		var recalled []time.Duration
		script.history = func() ([]*consistency.Report, error) {
			recalled = append(recalled, since().Round(time.Minute))
			if len(recalled) == 1 {
				return nil, errors.New("Kafka is away")
			}
			return []*consistency.Report{{Verdict: consistency.Agree}}, nil
		}
		log := during(t, 80*time.Minute, s, script)
		if want := []time.Duration{
			30 * time.Minute, 45 * time.Minute,
			75 * time.Minute,
		}; !slices.Equal(script.began, want) {
			t.Errorf("audits at %v, want %v\n%s", script.began, want, log)
		}
		if want := []time.Duration{
			20 * time.Minute, 20 * time.Minute,
			70 * time.Minute,
		}; !slices.Equal(recalled, want) {
			t.Errorf("recalled at %v, want %v", recalled, want)
		}
	})
}

// The end of the process does not wait for an audit, which is neither a failure nor a report.
func TestRunEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, script := &Service{},
			&script{run: func(ctx context.Context, _ int) (*consistency.Report, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}
		began := time.Now()
		log := during(t, 16*time.Minute, s, script)
		if time.Since(began) != 16*time.Minute || s.Ready() != nil || strings.Contains(log, "ERROR") {
			t.Errorf("after %s: %v\n%s", time.Since(began), s.Ready(), log)
		}
	})
}
