package config

import (
	"fmt"
	"strings"
)

// nearest finds the word among words that a typing mistake most likely turned into got.
// It prefers no suggestion to a far one: at most a third of the letters may differ.
func nearest(got string, words []string) (string, bool) {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "").Replace(s))
	}
	best, bestDistance := "", -1
	for _, w := range words {
		d := distance(plain(got), plain(w))
		if d > max(1, len(plain(w))/3) {
			continue
		}
		if bestDistance < 0 || d < bestDistance {
			best, bestDistance = w, d
		}
	}
	return best, bestDistance >= 0
}

// didYouMean is the tail of an error message, or nothing.
func didYouMean(got string, words []string) string {
	if w, ok := nearest(got, words); ok {
		return fmt.Sprintf(" (did you mean %q?)", w)
	}
	return ""
}

// distance is the optimal string alignment distance: insertions, deletions, substitutions and
// swaps of neighbours that turn a into b.
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
