package auditing

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is a sequence of times without end: a cron expression, or @every.
type Schedule struct{ times cron.Schedule }

// scheduleWant says what ParseSchedule takes, for messages.
const scheduleWant = `expected a cron expression of five fields such as "*/15 * * * *", @hourly ` +
	`or @every 15m`

// ParseSchedule reads a cron expression of five fields, a word such as @hourly, or @every with a
// duration of whole seconds. TZ=Europe/Berlin and a space may stand before it; the times are local
// otherwise. A schedule that never comes is an error.
func ParseSchedule(text string) (s *Schedule, err error) {
	// The parser indexes what follows a time zone without looking whether there is anything: CRON_TZ=
	// alone is a panic.
	defer func() {
		if recover() != nil {
			s, err = nil, errors.New(scheduleWant)
		}
	}()
	text = strings.TrimSpace(text)
	times, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", scheduleWant, err)
	}
	if _, every, ok := strings.Cut(text, "@every "); ok {
		// Shorter ones, negative ones among them, are taken for a second without a word.
		if d, err := time.ParseDuration(every); err != nil || d < time.Second || d%time.Second != 0 {
			return nil, errors.New("expected @every with a duration of whole seconds, one at least")
		}
	}
	if times.Next(time.Now()).IsZero() {
		return nil, errors.New("it never comes")
	}
	return &Schedule{times}, nil
}

// Next is the first time after t. It is zero if there is none within five years.
func (s *Schedule) Next(t time.Time) time.Time { return s.times.Next(t) }

// mostPassed bounds the counting of times that have passed.
const mostPassed = 1000

// Passed counts the times after planned that are not after now, 1000 at most.
func (s *Schedule) Passed(planned, now time.Time) int {
	n := 0
	for t := s.Next(planned); !t.IsZero() && !t.After(now) && n < mostPassed; t = s.Next(t) {
		n++
	}
	return n
}

// LongestGap is the longest time between two of the next thousand times.
func (s *Schedule) LongestGap(now time.Time) (longest time.Duration) {
	t := s.Next(now)
	for range mostPassed {
		next := s.Next(t)
		if next.IsZero() {
			break
		}
		longest, t = max(longest, next.Sub(t)), next
	}
	return longest
}
