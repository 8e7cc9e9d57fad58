"""Names of the demo firm: invented people and companies, none of them real."""

FIRST_NAMES = {
    "DE": (
        "Anna", "Jonas", "Lena", "Moritz", "Katharina", "Felix", "Sophie", "Lukas", "Miriam", "Tobias", "Julia",
        "Sebastian", "Nadine", "Philipp", "Franziska", "Emre", "Ines", "Matthias", "Aylin", "Christoph", "Paula",
        "Henning", "Svenja", "Dariusz", "Theresa", "Malte", "Greta", "Oskar",
    ),
    "US": (
        "Emily", "Marcus", "Hannah", "Andre", "Rachel", "Kevin", "Priya", "Daniel", "Monica", "Tyler", "Grace",
        "Brandon", "Naomi", "Carlos", "Allison", "Jamal", "Erin", "Victor",
    ),
}  # fmt: skip
LAST_NAMES = {
    "DE": (
        "Albrecht", "Brandt", "Claussen", "Dietrich", "Eberhardt", "Fiedler", "Gerlach", "Hartwig", "Iversen",
        "Jansen", "Kaya", "Lorenz", "Mertens", "Nowak", "Oltmanns", "Petersen", "Quandt", "Reimers", "Sauer",
        "Thiele", "Ullrich", "Vogt", "Wendt", "Yilmaz", "Ziegler", "Behrens", "Krause", "Lindner",
    ),
    "US": (
        "Adams", "Bennett", "Coleman", "Dawson", "Ellison", "Foster", "Gupta", "Hayes", "Ingram", "Jennings",
        "Kim", "Lambert", "Morales", "Nelson", "Ortega", "Parker", "Reyes", "Sullivan",
    ),
}  # fmt: skip

# name, country of the tax identifier, currency it is billed in, code of the entity that sells to it
CUSTOMERS = (
    ("Hansewerk Logistik GmbH", "DE", "EUR", "NWC-DE"),
    ("Prairie Wind Energy LLC", "US", "USD", "NWC-US"),
    ("Brenner & Voss Maschinenbau AG", "DE", "EUR", "NWC-DE"),
    ("Alpkraft Energie AG", "CH", "CHF", "NWC-DE"),
    ("Great Bend Health System", "US", "USD", "NWC-US"),
    ("Ostsee Versicherung a. G.", "DE", "EUR", "NWC-DE"),
    ("Thornbury Insurance plc", "GB", "GBP", "NWC-DE"),
    ("Marlow & Finch Retail Inc.", "US", "USD", "NWC-US"),
    ("Rheingold Chemie GmbH", "DE", "EUR", "NWC-DE"),
    ("Kestrel Aerospace Components Inc.", "US", "USD", "NWC-US"),
    ("Falkenberg Automotive SE", "DE", "EUR", "NWC-DE"),
    ("Stadtwerke Lindenau GmbH", "DE", "EUR", "NWC-DE"),
    ("Blue Heron Credit Union", "US", "USD", "NWC-US"),
    ("Vandermeer Foods B.V.", "NL", "EUR", "NWC-DE"),
    ("Nordlicht Kliniken gGmbH", "DE", "EUR", "NWC-DE"),
    ("Copperfield Mining Corp.", "US", "USD", "NWC-US"),
    ("Isarwerk Halbleiter GmbH", "DE", "EUR", "NWC-DE"),
    ("Montclair Pharma S.A.S.", "FR", "EUR", "NWC-DE"),
    ("Lakeshore Transit Authority", "US", "USD", "NWC-US"),
    ("Weserstahl GmbH & Co. KG", "DE", "EUR", "NWC-DE"),
    ("Helvetia Präzision AG", "CH", "CHF", "NWC-DE"),
    ("Silver Birch Media Group Inc.", "US", "USD", "NWC-US"),
    ("Adebar Wohnungsbau eG", "DE", "EUR", "NWC-DE"),
    ("Tideway Marine Ltd", "GB", "GBP", "NWC-DE"),
    ("Redwood Valley Foods Inc.", "US", "USD", "NWC-US"),
)

# Deals won lately with companies that no system but CRM knows yet.
PROSPECTS = (
    ("Elbtal Verpackung GmbH", "DE", "EUR", "NWC-DE"),
    ("Harborline Freight Inc.", "US", "USD", "NWC-US"),
    ("Sonnfeld Pumpen AG", "CH", "CHF", "NWC-DE"),
)

# service line → what is sold
OFFERS = {
    "Data & Analytics": (
        "Data platform foundation", "Demand forecasting", "Reporting consolidation", "Master data clean-up",
        "Customer churn model",
    ),
    "ERP Advisory": (
        "S/4 finance template", "Order-to-cash redesign", "Group close acceleration", "ERP carve-out",
        "Procurement roll-out",
    ),
    "Cloud Platform": (
        "Landing zone build", "Data centre exit", "Integration platform", "Identity and access programme",
        "Site reliability support",
    ),
    "Customer Experience": (
        "Self-service portal", "Field service app", "CRM consolidation", "Pricing and quoting", "Contact centre move",
    ),
}  # fmt: skip
