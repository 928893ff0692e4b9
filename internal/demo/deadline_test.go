package demo

import (
	"testing"
	"testing/synctest"
	"time"
)

func passed(d *deadline) bool {
	select {
	case <-d.passed():
		return true
	default:
		return false
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadline
		d.init()
		want := func(what string, want bool) {
			t.Helper()
			synctest.Wait()
			if got := passed(&d); got != want {
				t.Errorf("%s: passed is %v", what, got)
			}
		}
		want("none set", false)
		d.set(time.Now().Add(time.Second))
		waiting := d.passed()
		want("before it", false)
		time.Sleep(2 * time.Second)
		want("after it", true)
		select {
		case <-waiting:
		default:
			t.Error("who waited before was not told")
		}

		d.set(time.Now().Add(time.Second))
		want("set again", false)
		waiting = d.passed()
		d.set(time.Now().Add(-time.Second))
		want("moved into the past", true)
		select {
		case <-waiting:
		default:
			t.Error("who waited for the later one was not told of the earlier")
		}
		d.set(time.Time{})
		time.Sleep(time.Hour)
		want("taken away", false)
	})
}
