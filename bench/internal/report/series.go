package report

import "slices"

// Series is how a window went, interval by interval. A reply belongs to the one in which it came, whenever its request was due. What came after
// the window, or never, belongs to the last one: together the points have all latencies of the phase, and all its frames.
type Series struct {
	IntervalMS float64 `json:"interval_ms"` // length of an interval; the last one may be shorter
	Points     []Point `json:"points"`      // in order, warm-up left out
}

// Point is one interval of a series.
type Point struct {
	AtS       float64 `json:"t_s"`    // its end, since the window's begin
	FPS       float64 `json:"fps"`    // good replies per second; one-way: events written
	Replies   int64   `json:"n"`      // latencies that P50, P99 and MaxMS are of
	P50       float64 `json:"p50_ms"` // of the replies that came in the interval; 0 without any
	P99       float64 `json:"p99_ms"`
	MaxMS     float64 `json:"max_ms"`
	ClientCPU float64 `json:"client_cpu_cores"` // cores busy: 1.5 is one and a half
	ServerCPU float64 `json:"server_cpu_cores,omitempty"`
	ClientRSS int64   `json:"client_rss_bytes"` // at the interval's end
	ServerRSS int64   `json:"server_rss_bytes,omitempty"`
	ServerFDs int     `json:"server_fds,omitempty"`
}

// Quantile is one point of a percentile curve.
type Quantile struct {
	Percentile float64 `json:"pct"` // 0 to 100
	MS         float64 `json:"ms"`
}

// ServerKnobs is what the servers of one kind have run with.
type ServerKnobs struct {
	Kind  string `json:"kind"` // as Server has it
	Knobs []Knob `json:"knobs"`
}

// AddServerKnobs notes the knobs of s, if it has any and none of its kind is noted. nil is no server.
func (r *Report) AddServerKnobs(s *Server) {
	if s == nil || len(s.Knobs) == 0 || slices.ContainsFunc(r.ServerKnobs, func(k ServerKnobs) bool { return k.Kind == s.Kind }) {
		return
	}
	r.ServerKnobs = append(r.ServerKnobs, ServerKnobs{Kind: s.Kind, Knobs: s.Knobs})
}

// Setting is a knob of the servers and clients of a run that was set by a file or a variable.
type Setting struct {
	Key   string `json:"key"` // as in the file
	Value string `json:"value"`
	From  string `json:"from"`
}

// Knob is a setting that a process ran with.
type Knob struct {
	Name  string `json:"name"` // of the flag, without --
	Value string `json:"value"`
	Unit  string `json:"unit,omitempty"`
	Given bool   `json:"given,omitempty"` // on the command line; else it is the default
}
