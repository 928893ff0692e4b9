package main

import (
	"testing"
	"time"
)

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 12300 * time.Microsecond: "12ms", 1500 * time.Millisecond: "1.5s",
		90 * time.Second: "1m30s",
		20 * time.Minute: "20m", 2*time.Hour + 65*time.Second: "2h1m", 25 * time.Hour: "1d1h",
		48 * time.Hour: "2d",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
