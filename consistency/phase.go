package consistency

// Phase is what a run does at a moment.
type Phase string

// The phases of a run. The second and third take turns, a round of tiles each.
const (
	// Settling: the watermarks are set, and the run waits for what is on its way.
	Settling Phase = "waiting for what is on its way"
	// Comparing: entries and records are read.
	Comparing Phase = "comparing"
	// LookingAgain: something does not agree, and the run waits before it looks a second time.
	LookingAgain Phase = "waiting to look again at what does not agree"
)
