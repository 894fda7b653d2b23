# to know when the token ends, and whether a refusal means that it is gone
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

# to renew the token before its end
path "auth/token/renew-self" {
  capabilities = ["update"]
}

# to end the token when the broker ends
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# for "vouchsafe vault doctor" and the checks of sources: what the token may do
path "sys/capabilities-self" {
  capabilities = ["update"]
}

# the store's records, written with check-and-set
path "vouchsafe/data/vouchsafe/*" {
  capabilities = ["create", "read", "update"]
}

# versions of records without their values
path "vouchsafe/subkeys/vouchsafe/*" {
  capabilities = ["read"]
}

# to list records, and to remove the name of one that was deleted
path "vouchsafe/metadata/vouchsafe/*" {
  capabilities = ["read", "list", "delete"]
}

# to see that the engine keeps one version of a record, so that what was replaced is gone
path "vouchsafe/config" {
  capabilities = ["read"]
}

# credentials that are issued when they are released
path "database/creds/payments" {
  capabilities = ["read"]
}

# to end those credentials, and no others, with the broker's lease
path "sys/leases/revoke" {
  capabilities = ["update"]
  allowed_parameters = {
    "lease_id" = ["database/creds/payments/*"]
    "sync" = []
  }
}

# to see how long one of them is good for
path "sys/leases/lookup" {
  capabilities = ["update"]
  allowed_parameters = {
    "lease_id" = ["database/creds/payments/*"]
  }
}

# to find those that a broker issued and did not live to write down; Vault demands sudo to list leases
path "sys/leases/lookup/database/creds/payments/*" {
  capabilities = ["list", "sudo"]
}

# to hand them out response-wrapped, where a secret asks for that
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
