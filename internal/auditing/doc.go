// Package auditing runs audits at the times of a schedule: in a process of their own, or in a relay
// beside delivery.
//
// An audit never hurts what runs beside it: whatever goes wrong is told, and the next audit comes
// at its time. One process runs one audit at a time. A time that passes meanwhile is skipped, and
// that is told too.
package auditing
