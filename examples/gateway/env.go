package main

import "regexp"

// Kubernetes puts the addresses of services into the variables of pods. For one whose name begins with ron-transport they begin as ours do.
var (
	linkName  = regexp.MustCompile(`^RON_TRANSPORT_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	linkPort  = regexp.MustCompile(`^RON_TRANSPORT_([A-Z0-9_]+_)?PORT$`)
	linkValue = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// serviceLink says whether a variable that is none of ours is such an address. What is only called PORT could as well be a mistake for a
// setting; its value tells.
func serviceLink(name, v string) bool {
	return linkName.MatchString(name) || linkPort.MatchString(name) && linkValue.MatchString(v)
}
