sha256(convert_to(/* ROW */, 'UTF8')) || coalesce(sha256(convert_to(/* PAYLOAD */, 'UTF8')), decode(repeat('00', 32), 'hex'))
