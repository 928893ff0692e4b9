//go:build !unix

package process

import (
	"errors"
	"fmt"
)

// Alive takes every process for living where it cannot be asked, so that nothing is removed.
func Alive(int) bool { return true }

// Stop freezes the process, which this system cannot.
func (p *Process) Stop() error { return fmt.Errorf("stop %s: %w", p.name, errors.ErrUnsupported) }

// Cont continues a stopped process, which this system cannot.
func (p *Process) Cont() error {
	return fmt.Errorf("continue %s: %w", p.name, errors.ErrUnsupported)
}
