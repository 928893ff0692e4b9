package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written like 90s, 1h30m or 7d. Off is written off.
type Duration time.Duration

// Off is the Duration of settings that can be switched off.
const Off Duration = -1

// Size is a number of bytes that is written like 512KiB or 16MiB; a bare number is bytes.
type Size int64

// unit is one unit of a size or a duration.
type unit struct {
	name string
	n    int64
}

// The order is that of formatting: the first unit that divides the size is used.
var sizeUnits = []unit{
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"GB", 1e9},
	{"MB", 1e6},
	{"KB", 1e3},
	{"B", 1},
}

func (d Duration) String() string {
	if d == Off {
		return "off"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range sizeUnits {
		if int64(s)%u.n == 0 && (u.n != 1 || s < 1e4) {
			return strconv.FormatInt(int64(s)/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

var sizeText = regexp.MustCompile(`^(\d+)\s*([A-Za-z]*)$`)

func parseSize(text string) (Size, error) {
	m := sizeText.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return 0, fmt.Errorf("expected a size such as 512KiB or 16MiB")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("expected a size below 8 EiB")
	}
	for _, u := range append(sizeUnits, unit{"", 1}) {
		if strings.EqualFold(u.name, m[2]) {
			if n > math.MaxInt64/u.n {
				return 0, fmt.Errorf("expected a size below 8 EiB")
			}
			return Size(n * u.n), nil
		}
	}
	if len(m[2]) == 1 {
		return 0, fmt.Errorf("expected a size with the unit %siB or %sB", strings.ToUpper(m[2]),
			strings.ToUpper(m[2]))
	}
	return 0, fmt.Errorf("expected a size with one of the units B, KiB, MiB, GiB, KB, MB, GB")
}

var days = regexp.MustCompile(`^(\d+)d(.*)$`)

func parseDuration(text string) (Duration, error) {
	wrong := fmt.Errorf("expected a duration such as 500ms, 30s, 1h or 7d")
	rest, total := text, time.Duration(0)
	if m := days.FindStringSubmatch(text); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 32)
		if err != nil || n > 100_000 {
			return 0, wrong
		}
		total, rest = time.Duration(n)*24*time.Hour, m[2]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || total+d < total {
			return 0, wrong
		}
		total += d
	}
	if text == "" {
		return 0, wrong
	}
	return Duration(total), nil
}
