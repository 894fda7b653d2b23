package attest

//go:generate go run ../internal/gen/claims -dir ../docs/reference
