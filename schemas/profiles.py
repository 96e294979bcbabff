"""The member's profile, as Redis holds it under `profile:{member_id}`.

Every field but `member_id` may be missing or null. A profile of another shape is
broken: decoding raises `msgspec.ValidationError` or `msgspec.DecodeError`.
"""

import msgspec


class Education(msgspec.Struct, frozen=True, kw_only=True):
    school: str | None = None
    degree: str | None = None
    field: str | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    member_id: str
    title: str | None = None
    company: str | None = None
    industry: str | None = None
    location: str | None = None
    seniority: str | None = None
    years_of_experience: int | float | None = None
    skills: tuple[str, ...] | None = None
    past_titles: tuple[str, ...] | None = None
    past_companies: tuple[str, ...] | None = None
    education: tuple[Education, ...] | None = None
    updated_at: str | None = None


decode_profile = msgspec.json.Decoder(Profile).decode
