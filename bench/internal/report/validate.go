package report

import (
	"fmt"
	"slices"
)

// Validate says why a document that was read cannot be shown: it is not of this schema, or it names a figure there is not.
func (r *Report) Validate() error {
	if r.Schema != Schema {
		return fmt.Errorf("its schema is %q, not %q: it is no report of this ronbench", r.Schema, Schema)
	}
	for i := range r.Sweep {
		if s := &r.Sweep[i]; !slices.Contains(FigureNames(), s.Figure) {
			return fmt.Errorf("the sweep of %s is about the figure %q, which there is not", s.Knob, s.Figure)
		}
	}
	if s := r.Restart; s != nil && len(s.TookS) < len(s.Windows) {
		return fmt.Errorf("it has %d restarts, but says of only %d how long they took", len(s.Windows), len(s.TookS))
	}
	if r.Soak != nil {
		return r.Soak.sound()
	}
	return nil
}
