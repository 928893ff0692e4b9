package main

import (
	"fmt"
	"strconv"
	"time"
)

func known(n *int64) cell {
	if n == nil {
		return cell{"unknown", yellow}
	}
	return cell{text: strconv.FormatInt(*n, 10)}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// short writes a duration for people: two units at most.
func short(d time.Duration) string {
	two := func(big time.Duration, bigName string, small time.Duration, smallName string) string {
		if d%big/small == 0 {
			return fmt.Sprintf("%d%s", d/big, bigName)
		}
		return fmt.Sprintf("%d%s%d%s", d/big, bigName, d%big/small, smallName)
	}
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return two(time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return two(time.Hour, "h", time.Minute, "m")
	default:
		return two(24*time.Hour, "d", time.Hour, "h")
	}
}
