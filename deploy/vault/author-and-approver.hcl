# For teams of one, or a pipeline that has reviewed what it applies: together with author.hcl and approver.hcl, changes count at once.
path "vouchsafe/policy-apply"       { capabilities = ["update"] }
path "vouchsafe/reference-apply/*"  { capabilities = ["update"] }
path "vouchsafe/apply"              { capabilities = ["update"] }
