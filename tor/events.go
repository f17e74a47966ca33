package tor

import (
	"log/slog"

	"github.com/ron-transport/ron-transport/pool/eventlog"
)

// tell tells the logger a status. It does not wait for it. The message and the fields are frozen (docs/metrics.md). No onion address and no peer is named.
func (s Status) tell(out *eventlog.Writer) {
	level := slog.LevelInfo
	if s.State == Degraded || s.Reason == kinds[KindBootstrap].reason {
		level = slog.LevelWarn
	}
	out.Tell(level, "tor status", slog.String("state", s.State.String()), slog.String("reason", s.Reason),
		slog.Int("progress", s.Progress), slog.String("phase", s.Phase), slog.Int("services", s.Services), slog.Int("published", s.Published),
		slog.Int("starts", s.Starts), slog.Int("links", s.Links))
}
