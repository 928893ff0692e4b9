// Package options has what the Configs of libraries share: defaults, and choices that have names.
package options

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Default sets what was left zero.
func Default[T int | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Instance is a name for this process that no other one has; kind stands for a host without a name.
func Instance(kind string) string {
	host, err := os.Hostname()
	if err != nil {
		host = kind
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.SplitN(uuid.NewString(), "-", 2)[0])
}

// Name is that of a choice.
func Name(names []string, choice int) string {
	if choice < 0 || choice >= len(names) {
		return fmt.Sprintf("unknown(%d)", choice)
	}
	return names[choice]
}

// Parse is the inverse of Name; what says of what the choice is.
func Parse[T ~int](what string, names []string, s string) (T, error) {
	if i := slices.Index(names, s); i >= 0 {
		return T(i), nil
	}
	return 0, fmt.Errorf("unknown %s %q: want one of %s", what, s, strings.Join(names, ", "))
}
